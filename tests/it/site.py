"""Serves a folder by HTTP and HTTPS, with a certificate of its own in FOLDER/../site.pem.

Arguments: the folder, the port of HTTP, the port of HTTPS.
"""

import datetime
import functools
import http.server
import pathlib
import ssl
import sys
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

folder, plain, secure = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
now = datetime.datetime.now(datetime.timezone.utc)
certificate = (
    x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    .not_valid_before(now - datetime.timedelta(days=1))
    .not_valid_after(now + datetime.timedelta(days=1))
    .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    .sign(key, hashes.SHA256())
)
pem = serialization.Encoding.PEM
own = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
(folder.parent / "site.pem").write_bytes(certificate.public_bytes(pem))
(folder.parent / "site.key").write_bytes(own)
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(folder.parent / "site.pem", folder.parent / "site.key")
by_tls = http.server.ThreadingHTTPServer(("127.0.0.1", secure), handler)
by_tls.socket = tls.wrap_socket(by_tls.socket, server_side=True)
threading.Thread(target=by_tls.serve_forever, daemon=True).start()
http.server.ThreadingHTTPServer(("127.0.0.1", plain), handler).serve_forever()

//! `generel consume` with a broker that asks who comes, over TLS: what is not allowed is an error that says what to ask for,
//! and no password is ever shown.

use std::process::Command;

use crate::broker::Broker;
use crate::kafka::place;
use crate::servers::{kept_secret, output};
use crate::support::{Place, Ran};

const PASSWORD: &str = "correct-horse-9731";

/// A broker that knows three users, with a certificate of its own.
fn broker() -> Option<Broker> {
    Broker::start_with(|folder| {
        let store = folder.join("broker.p12");
        let keytool = || {
            let mut keytool = Command::new("keytool");
            keytool.args(["-alias", "broker", "-storepass", "of-the-test", "-keystore"]).arg(&store);
            keytool
        };
        let mut made = keytool();
        made.args([
            "-genkeypair",
            "-keyalg",
            "RSA",
            "-validity",
            "2",
            "-storetype",
            "PKCS12",
            "-dname",
            "CN=localhost",
        ]);
        output(made.args(["-ext", "san=ip:127.0.0.1"]));
        let mut exported = keytool();
        output(exported.args(["-exportcert", "-rfc", "-file"]).arg(folder.join("broker.pem")));
        format!(
            "ssl.keystore.type=PKCS12\nssl.keystore.location={}\nssl.keystore.password=of-the-test\n\
             ssl.key.password=of-the-test\nsasl.enabled.mechanisms=PLAIN\n\
             listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule \
             required user_reader=\"{PASSWORD}\" user_stranger=\"{PASSWORD}\" user_guest=\"{PASSWORD}\";\n\
             authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
             super.users=User:ANONYMOUS\n",
            store.display()
        )
    })
}

fn consume(broker: &Broker, place: &Place, user: &str, password: &str, authority: &str) -> Ran {
    place.write("password.txt", format!("{password}\n"));
    place.write(
        "consumer.yaml",
        format!(
            "name: conditions\nkafka:\n  bootstrap.servers: '{}'\n  security.protocol: sasl_ssl\n  sasl.mechanisms: PLAIN\n  \
             sasl.username: ${{KAFKA_USER}}\n  sasl.password: {{ file: password.txt }}\n  ssl.ca.location: '{authority}'\n\
             topics: [ehr]\nformat: json\nfields: [{{ name: dx, text: $.dx }}]\ntarget: {{ source: toy }}\n\
             rows: {{ shape: flat }}\noutput: {{ topic: out, shape: enriched }}\ndead_letters: dead\n",
            broker.secured()
        ),
    );
    let mut command = place.command(&["consume", "consumer.yaml", "--until-end", "-vv"]);
    command.env("KAFKA_USER", user);
    Ran::of(command)
}

#[test]
fn who_may_not_is_told_what_to_ask_for() {
    let Some(broker) = broker() else { return };
    let place = place();
    for topic in ["ehr", "out", "dead"] {
        broker.topic(topic, 2, &[]);
    }
    broker.send("ehr", [(0, br#"{"id":1,"dx":"heart attack"}"#.to_vec()), (1, b"{".to_vec())]);
    let authority = broker.folder().join("broker.pem").display().to_string();
    let (topics, group, transactions) = (
        ["--topic", "*"],
        ["--group", "conditions"],
        ["--transactional-id", "generel-conditions", "--resource-pattern-type", "prefixed"],
    );
    // The guest may see the topics, and write; the stranger may not even see them.
    broker.allow("guest", &[&["--operation", "Describe", "--operation", "Write"], &topics[..]].concat());
    broker.allow("guest", &[&["--operation", "Describe", "--operation", "Write"], &transactions[..]].concat());
    let as_user = |user: &str| consume(&broker, &place, user, PASSWORD, &authority);

    as_user("stranger").fails_with(1, &["no topic ehr", "this login may not see it"]);
    as_user("guest").fails_with(1, &["group", "ask for the ACL Read"]);
    broker.allow("guest", &[&["--operation", "Read"], &group[..]].concat());
    as_user("guest").fails_with(1, &["ehr", "ask for the ACL Read"]);

    broker.allow(
        "reader",
        &[&["--operation", "Read", "--operation", "Write", "--operation", "Describe"], &topics[..]].concat(),
    );
    broker.allow("reader", &[&["--operation", "Read"], &group[..]].concat());
    as_user("reader").fails_with(1, &["generel-conditions", "ask for the ACLs"]);
    broker.allow("reader", &[&["--operation", "Describe", "--operation", "Write"], &transactions[..]].concat());
    let ran = as_user("reader");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(place.rows("select object_id from harmonized"), ["TOY:1"]);
    assert_eq!((broker.read("out").len(), broker.read("dead").len()), (1, 1));
    kept_secret(&place, &ran, &[PASSWORD]);

    // Who may read and not write.
    broker.allow("stranger", &[&["--operation", "Describe", "--operation", "Read"], &topics[..]].concat());
    broker.allow("stranger", &[&["--operation", "Read"], &group[..]].concat());
    broker.allow("stranger", &[&["--operation", "Describe", "--operation", "Write"], &transactions[..]].concat());
    broker.send("ehr", [(0, br#"{"id":2,"dx":"heart attack"}"#.to_vec())]);
    as_user("stranger").fails_with(1, &["out", "ask for the ACL Write"]);
    assert_eq!(broker.read("out").len(), 1);

    let wrong = consume(&broker, &place, "reader", "battery-staple", &authority);
    wrong.fails_with(1, &["sasl.password"]);
    kept_secret(&place, &wrong, &["battery-staple"]);
    // Another authority than the broker's.
    let other = consume(&broker, &place, "reader", PASSWORD, "/etc/ssl/certs/ca-certificates.crt");
    other.fails_with(1, &["ssl.ca.location"]);
}

"""Makes a user whose signatures the server checks, and a bucket with files; prints the user's keys.

Arguments: the server's URI, then KEY=FILE of each object.
"""

import json
import sys

import boto3

server, *objects = sys.argv[1:]
root = dict(endpoint_url=server, region_name="us-east-1", aws_access_key_id="any", aws_secret_access_key="any")
iam = boto3.client("iam", **root)
# The server was told to let this many calls through unchecked: INITIAL_NO_AUTH_ACTION_COUNT.
iam.create_user(UserName="etl")
keys = iam.create_access_key(UserName="etl")["AccessKey"]
everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
iam.put_user_policy(UserName="etl", PolicyName="all", PolicyDocument=json.dumps(everything))
user = dict(root, aws_access_key_id=keys["AccessKeyId"], aws_secret_access_key=keys["SecretAccessKey"])
s3 = boto3.client("s3", **user)
s3.create_bucket(Bucket="bucket")
for item in objects:
    key, file = item.split("=", 1)
    s3.upload_file(file, "bucket", key)
print(keys["AccessKeyId"], keys["SecretAccessKey"])

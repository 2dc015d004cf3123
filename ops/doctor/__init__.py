"""Why does my message not appear? ``python -m ops.doctor --env ENV THING``.

Checks every hop in order, from the identity's files to the Athena table, and prints one line per
check: ok, failed, or skipped with the reason. A stage ends at its first failure. Each failure comes
with the command or sentence that fixes it. ``--send`` then publishes a simulated reading, unless a
hop is broken, and follows it to its row; that reading stays in the table.

The exit status is that of the first stage that failed (``device.errors.ExitStatus``), in this
order: identity 8, environment 12, network 7, registration 15, broker 6, spool 21, rule 16,
delivery 17, parser 18, readings 3, table 19, probe 20.

The broker keeps one connection per client id. So doctor does not connect while a publisher on this
machine uses the same identity, unless ``--take-over`` is given.

Doctor changes nothing, and needs these permissions. If one is missing, the check is skipped and
says so. Athena writes answers to a bucket of the stack, so counting rows needs ``s3:PutObject``
there: replace ``RESULTS`` by the bucket's name, or leave that statement out.

.. code-block:: json

    {
      "Version": "2012-10-17",
      "Statement": [
        {
          "Effect": "Allow",
          "Action": [
            "athena:GetQueryExecution",
            "athena:GetQueryResults",
            "athena:StartQueryExecution",
            "cloudformation:DescribeStacks",
            "cloudwatch:GetMetricStatistics",
            "firehose:DescribeDeliveryStream",
            "glue:GetDatabase",
            "glue:GetPartitions",
            "glue:GetTable",
            "iot:DescribeCertificate",
            "iot:DescribeEndpoint",
            "iot:GetTopicRule",
            "iot:ListAttachedPolicies",
            "iot:ListPrincipalThings",
            "iot:ListThingGroupsForThing",
            "iot:TestAuthorization",
            "lambda:GetFunctionConcurrency",
            "lambda:GetFunctionConfiguration",
            "lambda:ListEventSourceMappings",
            "logs:FilterLogEvents",
            "s3:GetBucketLocation",
            "s3:GetBucketNotification",
            "s3:GetObject",
            "s3:ListBucket",
            "sqs:GetQueueAttributes",
            "sqs:GetQueueUrl",
            "sts:GetCallerIdentity"
          ],
          "Resource": "*"
        },
        {
          "Effect": "Allow",
          "Action": ["s3:PutObject"],
          "Resource": "arn:aws:s3:::RESULTS/*"
        }
      ]
    }
"""

"""Why does my message not appear? ``python -m ops.doctor --env ENV THING``.

Walks every hop, in order, from the identity's files to the Athena table, and prints a line for
each check as it goes: ok, failed, or skipped with the reason. A stage ends at its first failure,
with the one command or sentence that mends it. ``--send`` then publishes a simulated reading, if
nothing has failed, and follows it to its row; that reading stays in the table.

The exit status is that of the first stage that failed (``device.errors.ExitStatus``), in this
order: identity 8, environment 12, network 7, registration 15, broker 6, spool 21, rule 16,
delivery 17, parser 18, readings 3, table 19, probe 20.

The broker lets a client id connect once. A publisher that is at work with the same identity is
therefore disconnected by the check of the broker: ``--no-connect`` leaves it out.

It changes nothing, and needs these permissions. Where one is missing, the check is skipped and
says so. Athena keeps answers in a bucket of the stack, so counting rows takes ``s3:PutObject``
there; replace ``RESULTS`` by its name, or leave that statement out.

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
            "iot:GetPolicy",
            "iot:GetTopicRule",
            "iot:ListAttachedPolicies",
            "iot:ListPrincipalThings",
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

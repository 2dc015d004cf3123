"""The AWS CDK app: one stack per environment, composed of typed constructs."""

"""What lies outside of Lambda: buckets, queues, tables, policies, the steps of a deployment."""

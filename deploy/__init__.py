"""What is made outside of Lambda: buckets, queues, tables, policies, and the steps of a deployment."""

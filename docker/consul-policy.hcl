# Everything a node, and an operator's command, may do in Consul. For cluster "main" of service "mysql".
# `service_prefix` covers mysql and mysql-primary.
key_prefix "mysql/main/" { policy = "write" }
key_prefix "mysql/main~history/" { policy = "write" }
session_prefix "" { policy = "write" }
node_prefix "" { policy = "read" }
service_prefix "mysql" { policy = "write" }
service "autopilot-mysql" { policy = "write" }

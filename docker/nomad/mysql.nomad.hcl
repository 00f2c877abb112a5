# Three databases on three Nomad clients, on the host's network with ports that Nomad assigns.
job "mysql" {
  datacenters = ["dc1"]
  type        = "service"

  group "mysql" {
    count = 3

    constraint {
      operator = "distinct_hosts"
      value    = "true"
    }

    # The data stays with the client; a replaced allocation finds it again.
    ephemeral_disk {
      sticky  = true
      migrate = false
      size    = 20000
    }

    network {
      mode = "host"
      port "mysql" {}
      port "http" {}
    }

    # A replacement waits until the node before it serves again.
    update {
      max_parallel     = 1
      health_check     = "checks"
      min_healthy_time = "10s"
      healthy_deadline = "30m"
      progress_deadline = "2h"
    }

    service {
      name     = "mysql-nodes"
      port     = "http"
      provider = "consul"
      check {
        type     = "http"
        path     = "/readyz"
        interval = "5s"
        timeout  = "2s"
      }
    }

    task "mysql" {
      driver = "docker"
      # Longer than --stop-timeout (60s): a stopped primary hands over first. The client's max_kill_timeout must allow it.
      kill_timeout = "75s"
      kill_signal  = "SIGTERM"

      config {
        image        = "autopilot-mysql"
        network_mode = "host"
        volumes      = ["../alloc/data:/var/lib/mysql"]
      }

      env {
        AUTOPILOT_NAME      = "mysql-${NOMAD_ALLOC_INDEX}"
        AUTOPILOT_PORT      = "${NOMAD_PORT_mysql}"
        AUTOPILOT_HTTP      = ":${NOMAD_PORT_http}"
        AUTOPILOT_ADVERTISE = "${attr.unique.network.ip-address}"
        AUTOPILOT_CONSUL    = "consul.service.consul:8500"
        AUTOPILOT_STORE     = "s3://backups/mysql?endpoint=https://s3.example.net&region=eu-1"

        MYSQL_REPL_PASSWORD_FILE = "${NOMAD_SECRETS_DIR}/repl"
      }

      template {
        destination = "secrets/repl"
        data        = "{{ with nomadVar \"nomad/jobs/mysql\" }}{{ .repl_password }}{{ end }}"
      }

      resources {
        cpu    = 1000
        memory = 2048
      }
    }
  }
}

# Three databases on three Nomad clients, on the host's network with ports that Nomad assigns. Taken as given: Consul, an S3
# store, and the secrets: nomad var put nomad/jobs/mysql repl_password=… root_password=… s3_access=… s3_secret=…
job "mysql" {
  datacenters = ["dc1"]
  type        = "service"

  group "mysql" {
    count = 3

    constraint {
      operator = "distinct_hosts"
      value    = "true"
    }

    # The data stays with the client; a replaced allocation on it finds it again. One on another client gets a new copy.
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

    # A node that fails is started again where its data is. Nomad's default gives up after two tries and moves it.
    restart {
      interval = "5m"
      attempts = 10
      delay    = "5s"
      mode     = "delay"
    }

    # For monitoring. Applications use the services mysql and mysql-primary, which the nodes register themselves.
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
        volumes      = ["../alloc/data:/var/lib/mysql"] # below the allocation, which is open to every user

        cap_drop        = ["all"]
        readonly_rootfs = true
        mount {
          type   = "tmpfs"
          target = "/tmp"
          tmpfs_options {
            size = 268435456 # bytes, of the task's memory
          }
        }
      }

      env {
        AUTOPILOT_NAME      = "mysql-${NOMAD_ALLOC_INDEX}"
        AUTOPILOT_PORT      = "${NOMAD_PORT_mysql}"
        AUTOPILOT_HTTP      = ":${NOMAD_PORT_http}"
        AUTOPILOT_ADVERTISE = "${attr.unique.network.ip-address}"
        AUTOPILOT_CONSUL    = "consul.service.consul:8500"
        AUTOPILOT_STORE     = "s3://backups/mysql?endpoint=https://s3.example.net&region=eu-1"

        MYSQL_REPL_PASSWORD_FILE   = "${NOMAD_SECRETS_DIR}/repl"
        MYSQL_ROOT_PASSWORD_FILE   = "${NOMAD_SECRETS_DIR}/root"
        AWS_ACCESS_KEY_ID_FILE     = "${NOMAD_SECRETS_DIR}/s3-access"
        AWS_SECRET_ACCESS_KEY_FILE = "${NOMAD_SECRETS_DIR}/s3-secret"
      }

      # A rotated password is read again from its file, the store's keys at the next start. Nomad's default for a changed
      # file would restart all three at once.
      template {
        destination = "secrets/repl"
        data        = "{{ with nomadVar \"nomad/jobs/mysql\" }}{{ .repl_password }}{{ end }}"
        change_mode = "noop"
      }
      template {
        destination = "secrets/root"
        data        = "{{ with nomadVar \"nomad/jobs/mysql\" }}{{ .root_password }}{{ end }}"
        change_mode = "noop"
      }
      template {
        destination = "secrets/s3-access"
        data        = "{{ with nomadVar \"nomad/jobs/mysql\" }}{{ .s3_access }}{{ end }}"
        change_mode = "noop"
      }
      template {
        destination = "secrets/s3-secret"
        data        = "{{ with nomadVar \"nomad/jobs/mysql\" }}{{ .s3_secret }}{{ end }}"
        change_mode = "noop"
      }

      resources {
        cpu    = 1000
        memory = 2048
      }
    }
  }
}

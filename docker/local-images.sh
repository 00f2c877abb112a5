#!/bin/bash
# Makes every image that compose.yaml names from Debian packages and source, for a machine that cannot pull images:
# the base (MySQL from Debian), ours, the example application, Consul, and an S3 server. `make image-local` calls it.
set -euo pipefail
cd "$(dirname "$0")/.."

base=${BASE_IMAGE:-autopilot-mysql-base:local}
have() { docker image inspect "$1" >/dev/null 2>&1; }
build() { docker build -q "$@" >/dev/null 2>"$work/build.log" || { cat "$work/build.log" >&2; exit 1; }; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if ! have "$base"; then
	command -v mmdebstrap >/dev/null || { apt-get update -qq && apt-get install -qqy mmdebstrap >/dev/null; }
	echo "making the base image $base from Debian packages (half a minute)"
	mmdebstrap --quiet --mode=root --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' \
		--include=mysql-server-core,mysql-client-core,ca-certificates sid "$work/base.tar" 2>"$work/base.log" || { tail -5 "$work/base.log" >&2; exit 1; }
	docker import "$work/base.tar" "$base" >/dev/null
	rm "$work/base.tar"
fi

echo "making autopilot-mysql:local and autopilot-mysql-example:local"
build -f docker/Dockerfile --build-arg "BASE_IMAGE=$base" -t autopilot-mysql:local .
build -t autopilot-mysql-example:local docker/example

if ! have autopilot-mysql-consul:local; then
	echo "making autopilot-mysql-consul:local"
	consul=$(bin/autopilot-mysql parts --env | sed -n 's/^AUTOPILOT_TEST_CONSUL=//p')
	mkdir "$work/consul"
	cp "$consul" "$work/consul/consul"
	printf 'FROM %s\nCOPY consul /usr/bin/consul\nENTRYPOINT ["consul"]\n' "$base" >"$work/consul/Dockerfile"
	build -t autopilot-mysql-consul:local "$work/consul"
fi

if ! have autopilot-mysql-s3:local; then
	echo "making autopilot-mysql-s3:local"
	mkdir "$work/s3"
	(cd e2e && CGO_ENABLED=0 go build -o "$work/s3/versitygw" github.com/versity/versitygw/cmd/versitygw)
	printf 'FROM scratch\nCOPY versitygw /versitygw\nENTRYPOINT ["/versitygw"]\n' >"$work/s3/Dockerfile"
	build -t autopilot-mysql-s3:local "$work/s3"
fi
size() { docker image inspect --format '{{.Size}}' "$1"; }
all=$(size autopilot-mysql:local) from=$(size "$base")
echo "autopilot-mysql:local has $((all / 1000000)) MB: its base $((from / 1000000)) MB, this program $(((all - from) / 1000000)) MB"
echo "export MYSQL_IMAGE=autopilot-mysql:local APP_IMAGE=autopilot-mysql-example:local CONSUL_IMAGE=autopilot-mysql-consul:local S3_IMAGE=autopilot-mysql-s3:local"

# RabbitMQ from Debian's packages, as a node of its own with its own port mapper (epmd). What it holds outlives a restart.

RABBITMQ_PORT=${AIME_RABBITMQ_PORT:-18672}
RABBITMQ_DIST_PORT=${AIME_RABBITMQ_DIST_PORT:-$((RABBITMQ_PORT + 1))}
RABBITMQ_EPMD_PORT=${AIME_RABBITMQ_EPMD_PORT:-$((RABBITMQ_PORT + 2))}

install() {
  [[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ]] && return
  echo "rabbitmq: installing RabbitMQ"
  apt-get -qq -o DPkg::Lock::Timeout=300 update
  # Its package starts the server where services may be started; this instance is another, on ports of its own.
  DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 \
    install rabbitmq-server >/dev/null
}

serve() {
  mkdir -p "$SERVICE_DIR/home" "$SERVICE_DIR/data" "$SERVICE_DIR/logs"
  echo "listeners.tcp.1 = 127.0.0.1:$RABBITMQ_PORT" >"$SERVICE_DIR/rabbitmq.conf"
  echo "[]." >"$SERVICE_DIR/enabled_plugins"
  environment >"$SERVICE_DIR/environment" # rabbitmqctl needs the same: tests source it
  echo "127.0.0.1:$RABBITMQ_PORT" >"$SERVICE_DIR/address"
  echo "env $(environment | tr '\n' ' ') /usr/lib/rabbitmq/bin/rabbitmq-server"
}

answers() {
  # The port opens before the node takes calls; the greeting comes after.
  local greeting=""
  { exec 3<>"/dev/tcp/127.0.0.1/$RABBITMQ_PORT"; } 2>/dev/null || return 1
  printf 'AMQP\0\0\x09\x01' >&3
  read -r -t 2 -N 1 greeting <&3 2>/dev/null || [[ -n $greeting ]]
}

# epmd is started by the node and outlives it.
ended() {
  local pid
  for pid in $(pgrep -x epmd || true); do
    if tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -qx "ERL_EPMD_PORT=$RABBITMQ_EPMD_PORT"; then
      kill "$pid"
    fi
  done
}

environment() {
  cat <<ENVIRONMENT
HOME=$SERVICE_DIR/home
RABBITMQ_NODENAME=aime$RABBITMQ_PORT@localhost
RABBITMQ_DIST_PORT=$RABBITMQ_DIST_PORT
RABBITMQ_MNESIA_BASE=$SERVICE_DIR/data
RABBITMQ_LOG_BASE=$SERVICE_DIR/logs
RABBITMQ_CONFIG_FILE=$SERVICE_DIR/rabbitmq.conf
RABBITMQ_ENABLED_PLUGINS_FILE=$SERVICE_DIR/enabled_plugins
RABBITMQ_PID_FILE=$SERVICE_DIR/node.pid
ERL_EPMD_PORT=$RABBITMQ_EPMD_PORT
ERL_EPMD_ADDRESS=127.0.0.1
ENVIRONMENT
}

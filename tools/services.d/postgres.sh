# PostgreSQL from Debian's packages. It refuses to run as root, so root runs it as user postgres. Local connections are
# trusted; what it holds outlives a restart.

POSTGRES_PORT=${AIME_POSTGRES_PORT:-18432}
STOP_SIGNAL=INT # a fast shutdown: TERM would wait until every client has gone

install() {
  if ! compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; then
    echo "postgres: installing PostgreSQL"
    apt-get -qq -o DPkg::Lock::Timeout=300 update
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 \
      install postgresql >/dev/null
  fi
  local data
  data=$(data_folder)
  [[ -e $data/PG_VERSION ]] && return
  as_owner "$(programs)/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 >"$SERVICE_DIR/initdb.log" 2>&1 \
    || { tail -n 20 "$SERVICE_DIR/initdb.log" >&2; return 1; }
}

serve() {
  echo "127.0.0.1:$POSTGRES_PORT" >"$SERVICE_DIR/address"
  local as=""
  [[ $EUID -eq 0 ]] && as="setpriv --reuid=postgres --regid=postgres --init-groups"
  echo "$as $(programs)/postgres -D '$(data_folder)' -c listen_addresses=127.0.0.1 -c port=$POSTGRES_PORT" \
    "-c unix_socket_directories='' -c max_connections=200"
}

answers() {
  "$(programs)/pg_isready" -q -h 127.0.0.1 -p "$POSTGRES_PORT"
}

# Of the newest release that is installed.
programs() {
  compgen -G '/usr/lib/postgresql/*/bin' | sort --version-sort | tail -n 1
}

# Where the server keeps its data: beside the log, or where user postgres gets at it when this checkout is private.
data_folder() {
  local data=$SERVICE_DIR/data
  if [[ $EUID -eq 0 ]]; then
    setpriv --reuid=postgres --regid=postgres --init-groups test -x "$SERVICE_DIR" \
      || data=/var/lib/postgresql/aime-$(cksum <<<"$SERVICE_DIR" | cut -d ' ' -f 1)
    mkdir -p "$data"
    chown postgres: "$data"
  fi
  echo "$data"
}

as_owner() {
  if [[ $EUID -eq 0 ]]; then
    (cd / && setpriv --reuid=postgres --regid=postgres --init-groups "$@")
  else
    "$@"
  fi
}

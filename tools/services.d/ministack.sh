# MiniStack from PyPI: SQS and Bedrock Runtime on one port, all in memory. It lives in a virtual environment of its own,
# since what it needs must not meet the versions that this project locks.

MINISTACK_VERSION=1.5.33
MINISTACK_PORT=${AIME_MINISTACK_PORT:-18566}

install() {
  local python=$SERVICE_DIR/venv/bin/python
  [[ -x $python ]] && "$python" -c "import importlib.metadata as m, sys; sys.exit(m.version('ministack') != '$MINISTACK_VERSION')" \
    2>/dev/null && return
  echo "ministack: installing MiniStack $MINISTACK_VERSION"
  "${PYTHON:-python3}" -m venv "$SERVICE_DIR/venv"
  "$python" -m pip install --quiet --disable-pip-version-check --no-input "ministack==$MINISTACK_VERSION"
}

serve() {
  echo "127.0.0.1:$MINISTACK_PORT" >"$SERVICE_DIR/address"
  echo "env BIND_HOST=127.0.0.1 GATEWAY_PORT=$MINISTACK_PORT '$SERVICE_DIR/venv/bin/python' -m ministack"
}

answers() {
  (exec 3<>"/dev/tcp/127.0.0.1/$MINISTACK_PORT") 2>/dev/null
}

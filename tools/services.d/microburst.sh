# Microburst from PyPI: a proxy in front of MiniStack that throttles, cuts and garbles as a test tells it to. It lives in a
# virtual environment of its own, as MiniStack does.

MICROBURST_VERSION=0.10.0
MICROBURST_PORT=${AIME_MICROBURST_PORT:-18567}

install() {
  local python=$SERVICE_DIR/venv/bin/python
  [[ -x $python ]] && "$python" -c "import importlib.metadata as m, sys; sys.exit(m.version('microburst') != '$MICROBURST_VERSION')" \
    2>/dev/null && return
  echo "microburst: installing Microburst $MICROBURST_VERSION"
  "${PYTHON:-python3}" -m venv "$SERVICE_DIR/venv"
  "$python" -m pip install --quiet --disable-pip-version-check --no-input "microburst==$MICROBURST_VERSION"
}

serve() {
  echo "127.0.0.1:$MICROBURST_PORT" >"$SERVICE_DIR/address"
  echo "'$SERVICE_DIR/venv/bin/microburst' --host 127.0.0.1 --port $MICROBURST_PORT" \
    "--upstream http://127.0.0.1:${AIME_MINISTACK_PORT:-18566} --no-resign"
}

answers() {
  (exec 3<>"/dev/tcp/127.0.0.1/$MICROBURST_PORT") 2>/dev/null
}

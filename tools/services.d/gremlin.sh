# Apache TinkerPop Gremlin Server from Maven Central, with a TinkerGraph in memory: what it holds is lost when it ends.

GREMLIN_VERSION=3.7.4 # the line that Neptune serves and pyproject.toml pins
GREMLIN_PORT=${AIME_GREMLIN_PORT:-18182}

install() {
  local lib=$SERVICE_DIR/lib-$GREMLIN_VERSION
  [[ -e $lib/.complete ]] && return
  if ! command -v java >/dev/null || ! command -v mvn >/dev/null; then
    echo "gremlin: installing Maven and a Java runtime"
    apt-get -qq -o DPkg::Lock::Timeout=300 update
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 \
      install maven openjdk-17-jre-headless >/dev/null
  fi
  echo "gremlin: fetching Gremlin Server $GREMLIN_VERSION"
  cat >"$SERVICE_DIR/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>aime</groupId><artifactId>services</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.tinkerpop</groupId><artifactId>gremlin-server</artifactId><version>$GREMLIN_VERSION</version>
    </dependency>
  </dependencies>
</project>
POM
  mvn -B -q -f "$SERVICE_DIR/pom.xml" dependency:copy-dependencies -DoutputDirectory="$lib" >"$SERVICE_DIR/maven.log" 2>&1 \
    || { tail -n 20 "$SERVICE_DIR/maven.log" >&2; return 1; }
  touch "$lib/.complete"
}

serve() {
  cat >"$SERVICE_DIR/graph.properties" <<'PROPERTIES'
gremlin.graph=org.apache.tinkerpop.gremlin.tinkergraph.structure.TinkerGraph
gremlin.tinkergraph.vertexIdManager=ANY
gremlin.tinkergraph.edgeIdManager=ANY
PROPERTIES
  cat >"$SERVICE_DIR/server.yaml" <<YAML
host: 127.0.0.1
port: $GREMLIN_PORT
evaluationTimeout: 30000
threadPoolWorker: 1
gremlinPool: 2
channelizer: org.apache.tinkerpop.gremlin.server.channel.WebSocketChannelizer
graphs: {graph: $SERVICE_DIR/graph.properties}
scriptEngines:
  gremlin-groovy:
    plugins:
      org.apache.tinkerpop.gremlin.server.jsr223.GremlinServerGremlinPlugin: {}
      org.apache.tinkerpop.gremlin.tinkergraph.jsr223.TinkerGraphGremlinPlugin: {}
      org.apache.tinkerpop.gremlin.jsr223.ScriptFileGremlinPlugin: {files: [$SERVICE_DIR/source.groovy]}
serializers:
  - {className: org.apache.tinkerpop.gremlin.util.ser.GraphBinaryMessageSerializerV1}
maxContentLength: 67108864
YAML
  echo "def globals = [:]; globals << [g: traversal().withEmbedded(graph)]" >"$SERVICE_DIR/source.groovy"
  echo "127.0.0.1:$GREMLIN_PORT" >"$SERVICE_DIR/address"
  echo "java -Xmx512m -cp '$SERVICE_DIR/lib-$GREMLIN_VERSION/*'" \
    "org.apache.tinkerpop.gremlin.server.GremlinServer '$SERVICE_DIR/server.yaml'"
}

answers() {
  (exec 3<>"/dev/tcp/127.0.0.1/$GREMLIN_PORT") 2>/dev/null
}

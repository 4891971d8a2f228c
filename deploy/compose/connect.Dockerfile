# Kafka Connect with Debezium's connector for PostgreSQL: the plugins that the tests run, of the same list.
FROM maven:3.9.11-eclipse-temurin-17 AS plugins
COPY tests/native/connect/pom.xml /pom.xml
RUN mvn -B -ntp -q -f /pom.xml dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=/plugins/converter \
    && tar -xzf /plugins/converter/*.tar.gz -C /plugins && rm /plugins/converter/*.tar.gz

FROM apache/kafka:4.3.1
COPY --from=plugins --chown=appuser:appuser /plugins /opt/plugins
# The converter's jars do not list what they hold, and with service_load the worker finds only what is listed.
RUN /opt/kafka/bin/connect-plugin-path.sh sync-manifests --plugin-location /opt/plugins/converter
COPY deploy/compose/worker.properties /opt/connect/worker.properties
ENTRYPOINT ["/opt/kafka/bin/connect-distributed.sh", "/opt/connect/worker.properties"]

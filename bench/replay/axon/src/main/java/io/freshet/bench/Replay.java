package io.freshet.bench;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.axonframework.common.jdbc.ConnectionProvider;
import org.axonframework.common.jdbc.UnitOfWorkAwareConnectionProviderWrapper;
import org.axonframework.common.transaction.NoTransactionManager;
import org.axonframework.eventhandling.DomainEventMessage;
import org.axonframework.eventhandling.GenericDomainEventMessage;
import org.axonframework.eventhandling.PropagatingErrorHandler;
import org.axonframework.eventhandling.SimpleEventHandlerInvoker;
import org.axonframework.eventhandling.pooled.PooledStreamingEventProcessor;
import org.axonframework.eventhandling.tokenstore.jdbc.JdbcTokenStore;
import org.axonframework.eventhandling.tokenstore.jdbc.PostgresTokenTableFactory;
import org.axonframework.eventsourcing.eventstore.EmbeddedEventStore;
import org.axonframework.eventsourcing.eventstore.jdbc.JdbcEventStorageEngine;
import org.axonframework.eventsourcing.eventstore.jdbc.PostgresEventTableFactory;
import org.axonframework.messaging.MetaData;
import org.axonframework.messaging.unitofwork.CurrentUnitOfWork;
import org.axonframework.messaging.unitofwork.DefaultUnitOfWork;
import org.axonframework.serialization.json.JacksonSerializer;

/**
 * Axon Framework's replay, as a peer of Freshet's: an event store in PostgreSQL, loaded with the events of a
 * file, and a pooled streaming processor that folds them into a table, again for every line on its input. It
 * prints a line when the store is loaded, and one after each replay.
 *
 * <p>Arguments: the file, events of a batch, segments. The database is in JDBC_URL.
 */
public final class Replay {
    private final ObjectMapper json = new ObjectMapper();
    private final JacksonSerializer serializer = JacksonSerializer.builder().objectMapper(json).build();
    private final ConnectionProvider connections;
    private final JdbcEventStorageEngine engine;

    private Replay(HikariDataSource database) {
        // A unit of work has one connection, which is its transaction; outside, a statement commits by itself.
        connections = new UnitOfWorkAwareConnectionProviderWrapper(() -> {
            Connection c = database.getConnection();
            c.setAutoCommit(!CurrentUnitOfWork.isStarted());
            return c;
        });
        engine = JdbcEventStorageEngine.builder()
                .eventSerializer(serializer)
                .snapshotSerializer(serializer)
                .connectionProvider(connections)
                .transactionManager(NoTransactionManager.INSTANCE)
                .batchSize(5000) // events of one read
                .build();
    }

    public static void main(String[] args) throws Exception {
        HikariConfig config = new HikariConfig();
        config.setJdbcUrl(System.getenv("JDBC_URL"));
        try (HikariDataSource database = new HikariDataSource(config)) {
            new Replay(database).run(Path.of(args[0]), Integer.parseInt(args[1]), Integer.parseInt(args[2]));
        }
    }

    private void run(Path file, int batch, int segments) throws Exception {
        JdbcTokenStore tokens = JdbcTokenStore.builder().connectionProvider(connections).serializer(serializer).build();
        transaction(() -> {
            engine.createSchema(PostgresEventTableFactory.INSTANCE);
            tokens.createSchema(PostgresTokenTableFactory.INSTANCE);
        });
        int count = load(file);
        State state = new State(connections);
        PooledStreamingEventProcessor processor = PooledStreamingEventProcessor.builder()
                .name("state")
                .eventHandlerInvoker(SimpleEventHandlerInvoker.builder()
                        .eventHandlers(state)
                        .listenerInvocationErrorHandler(PropagatingErrorHandler.instance())
                        .build())
                .errorHandler(PropagatingErrorHandler.instance())
                .messageSource(EmbeddedEventStore.builder().storageEngine(engine).build())
                .tokenStore(tokens)
                .transactionManager(NoTransactionManager.INSTANCE)
                .coordinatorExecutor(Executors.newScheduledThreadPool(1))
                .workerExecutor(Executors.newScheduledThreadPool(segments))
                .initialSegmentCount(segments)
                .initialToken(source -> source.createTailToken())
                .batchSize(batch)
                .build();
        System.out.println("loaded " + count);
        BufferedReader asked = new BufferedReader(new InputStreamReader(System.in));
        for (boolean first = true; asked.readLine() != null; first = false) {
            if (!first) {
                processor.resetTokens();
            }
            processor.start();
            if (!state.committed.tryAcquire(count, 10, TimeUnit.MINUTES)) {
                throw new IllegalStateException(state.committed.availablePermits() + " of " + count + " events in ten minutes");
            }
            System.out.println("replayed " + count);
            processor.shutDown();
        }
        System.exit(0); // the executors' threads
    }

    /** Appends the file's events, a CloudEvent per line, as Axon would have stored them. */
    private int load(Path file) throws Exception {
        Map<String, Long> next = new HashMap<>(); // of an aggregate
        List<DomainEventMessage<?>> batch = new ArrayList<>();
        int count = 0;
        try (BufferedReader lines = Files.newBufferedReader(file)) {
            for (String line; (line = lines.readLine()) != null; count++) {
                batch.add(message(json.readTree(line), next));
                if (batch.size() == 1000) {
                    append(batch);
                }
            }
        }
        append(batch);
        return count;
    }

    private DomainEventMessage<?> message(JsonNode e, Map<String, Long> next) throws Exception {
        String type = e.get("type").asText();
        Class<?> payload = type.endsWith(".data_checked") ? Payloads.DataChecked.class : Payloads.DataRejected.class;
        Map<String, String> meta = new HashMap<>();
        for (Iterator<Map.Entry<String, JsonNode>> i = e.fields(); i.hasNext(); ) {
            Map.Entry<String, JsonNode> field = i.next();
            switch (field.getKey()) {
                case "namespace", "correlationid", "causationid", "sequence", "hops", "actor" ->
                        meta.put(field.getKey(), field.getValue().asText());
                default -> {} // has a column of its own, or none
            }
        }
        String dataset = e.get("subject").asText();
        long sequence = next.merge(dataset, 0L, (was, none) -> was + 1);
        return new GenericDomainEventMessage<>("dataset", dataset, sequence, json.treeToValue(e.get("data"), payload),
                MetaData.from(meta), e.get("id").asText(), Instant.parse(e.get("time").asText()));
    }

    private void append(List<DomainEventMessage<?>> batch) {
        transaction(() -> engine.appendEvents(batch));
        batch.clear();
    }

    private static void transaction(Runnable work) {
        DefaultUnitOfWork.startAndGet(null).execute(work);
    }
}

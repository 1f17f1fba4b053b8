package io.freshet.bench;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.concurrent.Semaphore;
import org.axonframework.common.jdbc.ConnectionProvider;
import org.axonframework.eventhandling.EventHandler;
import org.axonframework.eventhandling.ResetHandler;
import org.axonframework.messaging.annotation.MetaDataValue;
import org.axonframework.messaging.unitofwork.CurrentUnitOfWork;
import org.axonframework.messaging.unitofwork.UnitOfWork;

/**
 * The projection: the same table and the same statements as everybody's. A unit of work is one batch of
 * events; its statements go to the database as two JDBC batches, in its transaction, just before it commits.
 * A fact's and a decision's statement write different columns, so their order does not matter.
 */
public final class State {
    private static final String FACT =
            "INSERT INTO state (key, n, last, rejected, failed) VALUES (?, 1, ?, 0, 0) "
                    + "ON CONFLICT (key) DO UPDATE SET n = state.n + 1, last = excluded.last";
    private static final String DECISION =
            "INSERT INTO state (key, n, last, rejected, failed) VALUES (?, 0, 0, 1, ?) "
                    + "ON CONFLICT (key) DO UPDATE SET rejected = state.rejected + 1, failed = state.failed + excluded.failed";

    private final ConnectionProvider connections;
    /** A permit for every event whose transaction has been committed. */
    final Semaphore committed = new Semaphore(0);

    State(ConnectionProvider connections) {
        this.connections = connections;
    }

    @EventHandler
    public void on(Payloads.DataChecked e, @MetaDataValue("sequence") String sequence) throws SQLException {
        Batch batch = batch();
        batch.add(batch.facts, e.dataset(), Long.parseLong(sequence));
    }

    @EventHandler
    public void on(Payloads.DataRejected e) throws SQLException {
        Batch batch = batch();
        batch.add(batch.decisions, e.dataset(), e.failed());
    }

    @ResetHandler
    public void reset() throws SQLException {
        try (Connection c = connections.getConnection(); Statement s = c.createStatement()) {
            s.execute("TRUNCATE state");
        }
    }

    private Batch batch() throws SQLException {
        UnitOfWork<?> work = CurrentUnitOfWork.get().root();
        Batch batch = work.getResource("batch");
        if (batch == null) {
            batch = new Batch(work);
            work.resources().put("batch", batch);
        }
        return batch;
    }

    private final class Batch {
        final PreparedStatement facts;
        final PreparedStatement decisions;
        int events;

        Batch(UnitOfWork<?> work) throws SQLException {
            Connection c = connections.getConnection();
            facts = c.prepareStatement(FACT);
            decisions = c.prepareStatement(DECISION);
            work.onPrepareCommit(w -> send());
            work.afterCommit(w -> committed.release(events));
        }

        void add(PreparedStatement s, String dataset, long value) throws SQLException {
            s.setString(1, dataset);
            s.setLong(2, value);
            s.addBatch();
            events++;
        }

        void send() {
            try (facts; decisions) {
                facts.executeBatch();
                decisions.executeBatch();
            } catch (SQLException e) {
                throw new IllegalStateException(e);
            }
        }
    }
}

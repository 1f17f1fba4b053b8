package io.freshet.bench;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonProperty;
import java.util.List;

/** What the log's events carry, by the names of the contracts. */
final class Payloads {
    private Payloads() {}

    @JsonInclude(JsonInclude.Include.NON_NULL)
    record StoredObject(String digest, String uri, long size, @JsonProperty("media_type") String mediaType) {}

    record RuleFailure(String rule, long rows) {}

    @JsonInclude(JsonInclude.Include.NON_NULL)
    record DataChecked(String dataset, String arrival, long rows, long accepted, long quarantined, StoredObject quarantine) {}

    @JsonInclude(JsonInclude.Include.NON_NULL)
    record DataRejected(String dataset, String arrival, String reason, long rows, long failed, List<RuleFailure> failures,
            StoredObject quarantine) {}
}

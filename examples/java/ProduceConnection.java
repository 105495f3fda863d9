import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.Future;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.generic.GenericRecordBuilder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Writes an inbound connection of each named tenant: ProduceConnection BOOTSTRAP TENANT..., from the repository's root. */
public final class ProduceConnection {
    private static final String TOPIC = "transport.connections.v1";

    public static void main(String[] arguments) throws Exception {
        JsonNode versions = new ObjectMapper().readTree(new File("schemas/registry.json")).get(TOPIC + "-value");
        JsonNode newest = versions.get(versions.size() - 1);
        Schema schema = new Schema.Parser().parse(newest.get("schema").toString());
        // No partitioner.class and no partitioner.ignore.keys: the default is murmur2 of the key, which workers check.
        Map<String, Object> settings = Map.of("bootstrap.servers", arguments[0], "acks", "all");
        List<Future<?>> answers = new ArrayList<>();
        try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (String tenant : List.of(arguments).subList(1, arguments.length)) {
                byte[] value = encode(event(schema, tenant), newest.get("id").asInt());
                answers.add(producer.send(new ProducerRecord<>(TOPIC, tenant.getBytes(StandardCharsets.UTF_8), value)));
            }
        }
        for (Future<?> answer : answers) {
            answer.get(); // throws where the broker did not take the record
        }
        System.out.println(answers.size() + " written");
    }

    private static GenericRecord event(Schema schema, String tenant) {
        Schema outcome = schema.getField("outcome").schema().getTypes().get(1);
        return new GenericRecordBuilder(schema)
                .set("event_id", UUID.randomUUID().toString()) // a repeated event has the same one, and counts once
                .set("observed_at", System.currentTimeMillis())
                .set("tenant_id", tenant)
                .set("connector_id", "inbound-" + tenant)
                .set("connector_type", new GenericData.EnumSymbol(schema.getField("connector_type").schema(), "ON_PREMISES"))
                .set("source_ip", "192.0.2.1")
                .set("helo", "mx1.example.com")
                .set("received", List.of("from client.example.com (10.0.0.5) by mx1.example.com (192.0.2.1) with Microsoft"
                        + " SMTP Server id 15.1.2507.39; Tue, 1 Sep 2026 00:00:00 +0000"))
                .set("outcome", new GenericData.EnumSymbol(outcome, "ACCEPTED"))
                .set("recipients", 1)
                .build();
    }

    private static byte[] encode(GenericRecord event, int schemaId) throws IOException {
        ByteArrayOutputStream value = new ByteArrayOutputStream();
        value.write(ByteBuffer.allocate(5).put((byte) 0).putInt(schemaId).array());
        BinaryEncoder encoder = EncoderFactory.get().directBinaryEncoder(value, null);
        new GenericDatumWriter<GenericRecord>(event.getSchema()).write(event, encoder);
        return value.toByteArray();
    }
}

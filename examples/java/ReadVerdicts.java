import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Follows the verdicts as an edge host does: ReadVerdicts BOOTSTRAP, from the repository's root. A line of stdin asks about a
 * moment, as {"key": "tenant/server", "at": "2026-09-01T12:00:00.000Z"}; stdout has the answer.
 */
public final class ReadVerdicts {
    private static final String TOPIC = "enforcement.verdicts.v1";
    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) throws Exception {
        Map<String, GenericRecord> verdicts = new ConcurrentHashMap<>();
        CountDownLatch complete = new CountDownLatch(1);
        Thread follower = new Thread(() -> follow(arguments[0], verdicts, complete));
        follower.setDaemon(true);
        follower.start();
        complete.await();
        PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
        BufferedReader questions = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = questions.readLine()) != null; ) {
            JsonNode asked = JSON.readTree(line);
            String key = asked.get("key").asText();
            GenericRecord verdict = verdicts.get(key);
            long at = Instant.parse(asked.get("at").asText()).toEpochMilli();
            Decision decision = verdict == null ? new Decision("ACCEPT", null) : Decision.of(key, verdict, at);
            Map<String, Object> answer = new HashMap<>();
            answer.put("verdict_id", verdict == null ? null : verdict.get("verdict_id").toString());
            answer.put("action", decision.action());
            answer.put("reply", decision.reply());
            out.println(JSON.writeValueAsString(answer));
        }
    }

    /** Keeps the table current: the last record of a key applies, and one without a value takes it away. */
    private static void follow(String bootstrap, Map<String, GenericRecord> verdicts, CountDownLatch complete) {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "isolation.level", "read_committed");
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new ByteArrayDeserializer())) {
            Schema schema = new Schema.Parser().parse(new File("schemas/verdict.avsc"));
            Map<Integer, GenericDatumReader<GenericRecord>> readers = new HashMap<>();
            for (JsonNode version : JSON.readTree(new File("schemas/registry.json")).get(TOPIC + "-value")) {
                Schema writer = new Schema.Parser().parse(version.get("schema").toString());
                readers.put(version.get("id").asInt(), new GenericDatumReader<>(writer, schema));
            }
            // No group: every host needs every partition, from its beginning.
            List<TopicPartition> partitions = consumer.partitionsFor(TOPIC).stream()
                    .map(each -> new TopicPartition(TOPIC, each.partition())).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (true) {
                // The position also passes the markers of transactions, which are no records.
                if (partitions.stream().allMatch(each -> consumer.position(each) >= ends.get(each))) {
                    complete.countDown();
                }
                for (ConsumerRecord<String, byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    byte[] value = record.value();
                    if (value == null) {
                        verdicts.remove(record.key());
                    } else {
                        BinaryDecoder decoder = DecoderFactory.get().binaryDecoder(value, 5, value.length - 5, null);
                        verdicts.put(record.key(), readers.get(ByteBuffer.wrap(value).getInt(1)).read(null, decoder));
                    }
                }
            }
        } catch (IOException | RuntimeException error) {
            error.printStackTrace();
            Runtime.getRuntime().halt(1); // who follows no verdicts must not decide
        }
    }
}

import com.sun.management.OperatingSystemMXBean;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.avro.Schema;
import org.apache.avro.SchemaBuilder;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/** The comparable job on Kafka Streams: Processor API, one RocksDB store with its changelog, generic Avro records. */
public final class KafkaStreamsPeer {
  private static final Pattern BUILD =
      Pattern.compile("with Microsoft SMTP Server(?: \\([^)]*\\))? id (\\d+)\\.(\\d+)\\.(\\d+)\\.(\\d+)");
  private static final int[] FLOOR = {15, 1, 2507, 61};
  private static final int HEADER_BYTES = 5;
  /** First seen, last seen, connections (8 bytes each), below the floor (1 byte); the build follows as text. */
  private static final int STATE_BYTES = 25;
  private static final byte[] VERDICT_HEADER = {0, 0, 0, 3, (byte) 0xe7};
  private static final Schema VERDICT =
      SchemaBuilder.record("PeerVerdict").fields()
          .requiredString("tenant_id").requiredString("server").requiredString("build")
          .requiredBoolean("below_floor").requiredLong("observed_at").requiredString("event_id")
          .endRecord();
  private static final AtomicInteger COUNT = new AtomicInteger();
  private static final OperatingSystemMXBean SYSTEM =
      (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

  private static void mark(String name, int count) {
    double now = System.currentTimeMillis() / 1e3;
    double cpu = SYSTEM.getProcessCpuTime() / 1e9;
    System.out.println(String.format(Locale.ROOT, "%s %d %.4f %.4f", name, count, now, cpu));
    System.out.flush();
  }

  /** Detects, judges, keeps the state, and forwards a verdict when it changed. */
  private static final class Step implements Processor<byte[], byte[], byte[], byte[]> {
    private final int every;
    private final AvroRecords avro;
    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<String, byte[]> servers;

    Step(Schema input, int every) {
      this.every = every;
      this.avro = new AvroRecords(input);
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> context) {
      this.context = context;
      this.servers = context.getStateStore("servers");
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
      int count = COUNT.incrementAndGet();
      if (count == 1) {
        mark("BEGIN", 0);
      }
      GenericRecord connection = avro.read(record.value());
      String tenant = connection.get("tenant_id").toString();
      String server = connection.get("helo").toString();
      long at = (Long) connection.get("observed_at");
      String key = tenant + "/" + server;
      long first = at;
      long last = at;
      long connections = 0;
      String build = "";
      String buildBefore = null;
      boolean below = false;
      boolean belowBefore = false;
      byte[] state = servers.get(key);
      if (state != null) {
        ByteBuffer fields = ByteBuffer.wrap(state);
        first = fields.getLong();
        last = Math.max(fields.getLong(), at);
        connections = fields.getLong();
        below = belowBefore = fields.get() != 0;
        build = buildBefore = new String(state, STATE_BYTES, state.length - STATE_BYTES, StandardCharsets.UTF_8);
      }
      Matcher found = BUILD.matcher(((List<?>) connection.get("received")).get(0).toString());
      if (found.find()) {
        int order = 0;
        int[] parts = new int[4];
        for (int i = 0; i < 4; i++) {
          parts[i] = Integer.parseInt(found.group(i + 1));
          order = order != 0 ? order : Integer.compare(parts[i], FLOOR[i]);
        }
        build = parts[0] + "." + parts[1] + "." + parts[2] + "." + parts[3];
        below = order < 0;
      }
      byte[] text = build.getBytes(StandardCharsets.UTF_8);
      ByteBuffer kept = ByteBuffer.allocate(STATE_BYTES + text.length);
      kept.putLong(first).putLong(last).putLong(connections + 1).put((byte) (below ? 1 : 0)).put(text);
      servers.put(key, kept.array());
      if (buildBefore == null || belowBefore != below || !buildBefore.equals(build)) {
        GenericRecord verdict = new GenericData.Record(VERDICT);
        verdict.put("tenant_id", tenant);
        verdict.put("server", server);
        verdict.put("build", build);
        verdict.put("below_floor", below);
        verdict.put("observed_at", at);
        verdict.put("event_id", connection.get("event_id").toString());
        context.forward(new Record<>(key.getBytes(StandardCharsets.UTF_8), avro.write(verdict), record.timestamp()));
      }
      if (count % every == 0) {
        mark("AT", count);
      }
    }
  }

  /** Reads and writes the records of one task, reusing what Avro lets be reused. */
  private static final class AvroRecords {
    private final GenericDatumReader<GenericRecord> reader;
    private final GenericDatumWriter<GenericRecord> writer = new GenericDatumWriter<>(VERDICT);
    private BinaryDecoder decoder;
    private BinaryEncoder encoder;
    private GenericRecord reused;

    AvroRecords(Schema input) {
      reader = new GenericDatumReader<>(input);
    }

    GenericRecord read(byte[] value) {
      if (value[0] != 0) {
        throw new IllegalStateException("first byte is " + value[0] + ", must be 0");
      }
      try {
        decoder = DecoderFactory.get().binaryDecoder(value, HEADER_BYTES, value.length - HEADER_BYTES, decoder);
        reused = reader.read(reused, decoder);
        return reused;
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    }

    byte[] write(GenericRecord verdict) {
      try {
        ByteArrayOutputStream out = new ByteArrayOutputStream(160);
        out.write(VERDICT_HEADER);
        encoder = EncoderFactory.get().binaryEncoder(out, encoder);
        writer.write(verdict, encoder);
        encoder.flush();
        return out.toByteArray();
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    }
  }

  /** Takes bootstrap, topic, output topic, application id, folder, length of the feed, and name=value options. */
  public static void main(String[] args) throws IOException {
    Map<String, String> options = new HashMap<>();
    for (int i = 6; i < args.length; i++) {
      String[] pair = args[i].split("=", 2);
      options.put(pair[0], pair[1]);
    }
    Schema input = new Schema.Parser().parse(Path.of(options.get("schema")).toFile());
    int every = Math.max(1, Integer.parseInt(args[5]) / 40);
    Properties config = new Properties();
    config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
    config.put(StreamsConfig.APPLICATION_ID_CONFIG, args[3]);
    config.put(StreamsConfig.STATE_DIR_CONFIG, args[4]);
    config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, options.get("guarantee"));
    config.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64L << 20);
    config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, Integer.parseInt(options.get("commit_ms")));
    config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, Integer.parseInt(options.get("threads")));
    config.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
    config.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
    config.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
    config.put("consumer.auto.offset.reset", "earliest");
    StoreBuilder<KeyValueStore<String, byte[]>> store =
        Stores.keyValueStoreBuilder(
                Stores.persistentKeyValueStore("servers"), Serdes.String(), Serdes.ByteArray())
            .withCachingEnabled();
    Topology topology = new Topology();
    topology.addSource("in", Serdes.ByteArray().deserializer(), Serdes.ByteArray().deserializer(), args[1]);
    topology.addProcessor("step", () -> new Step(input, every), "in");
    topology.addStateStore(store, "step");
    topology.addSink("out", args[2], Serdes.ByteArray().serializer(), Serdes.ByteArray().serializer(), "step");
    KafkaStreams streams = new KafkaStreams(topology, config);
    Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
    AtomicInteger restored = new AtomicInteger();
    long[] began = {0};
    streams.setGlobalStateRestoreListener(
        new StateRestoreListener() {
          @Override
          public synchronized void onRestoreStart(TopicPartition partition, String store, long start, long end) {
            began[0] = began[0] == 0 ? System.nanoTime() : began[0];
          }

          @Override
          public void onBatchRestored(TopicPartition partition, String store, long end, long count) {}

          @Override
          public synchronized void onRestoreEnd(TopicPartition partition, String store, long count) {
            long spent = (System.nanoTime() - began[0]) / 1_000_000;
            System.out.println("RESTORED " + restored.addAndGet((int) count) + " " + spent);
            System.out.flush();
          }
        });
    streams.start();
  }
}

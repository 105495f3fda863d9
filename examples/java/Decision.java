import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Arrays;
import java.util.List;
import org.apache.avro.generic.GenericRecord;

/** What is done with mail of a server, and the SMTP reply; null where the mail is accepted. */
public record Decision(String action, String reply) {
    private static final String THROTTLE = "throttle_minutes_per_hour";
    private static final String BLOCK = "block_minutes_per_hour";
    private static final DateTimeFormatter DATE =
            DateTimeFormatter.ofPattern("uuuu-MM-dd'T'HH:mm:ss.SSS'Z'").withZone(ZoneOffset.UTC);

    /** The decision by a verdict at a moment (UTC milliseconds). */
    @SuppressWarnings("unchecked")
    public static Decision of(String key, GenericRecord verdict, long at) throws NoSuchAlgorithmException {
        GenericRecord now = verdict;
        Long next = null;
        // The stages to come are in the verdict: they begin without another one.
        for (GenericRecord stage : (List<GenericRecord>) verdict.get("schedule")) {
            boolean acts = minutes(stage, THROTTLE) > 0 || minutes(stage, BLOCK) > 0;
            if ((long) stage.get("starts_at") <= at) {
                now = stage;
            } else if ((int) stage.get("stage") > (int) now.get("stage") || acts) {
                next = (long) stage.get("starts_at");
                break;
            }
        }
        boolean isPaused = verdict.get("paused_until") != null && at < (long) verdict.get("paused_until");
        int throttle = isPaused ? 0 : minutes(now, THROTTLE);
        int block = isPaused ? 0 : minutes(now, BLOCK);
        // The minutes of a server begin at a minute of its own, so that not all servers share one.
        byte[] digest = MessageDigest.getInstance("SHA-256").digest(key.getBytes(StandardCharsets.UTF_8));
        int offset = new BigInteger(1, Arrays.copyOf(digest, 8)).mod(BigInteger.valueOf(60)).intValue();
        int minute = (int) Math.floorMod(at / 60_000 % 60 - offset, 60L);
        if (minute < block) {
            return new Decision("BLOCK", reply("550 5.7.230 ", verdict.get("smtp_template_block"), "blocked", block, next));
        }
        if (minute < block + throttle) {
            Object template = verdict.get("smtp_template_throttle");
            return new Decision("THROTTLE", reply("450 4.7.230 ", template, "throttled", throttle, next));
        }
        return new Decision("ACCEPT", null);
    }

    private static int minutes(GenericRecord stage, String name) {
        return (int) stage.get(name);
    }

    /** One line that SMTP can carry, whatever the verdict's template has in it. */
    private static String reply(String code, Object template, String verb, int minutes, Long next) {
        String text = template == null ? "" : template.toString();
        if (!text.startsWith(code) || text.substring(code.length()).isBlank()) {
            text = code + "Connecting Exchange server version is out-of-date; connection " + verb + " for {minutes} mins/hr.";
        }
        String date = next == null ? "" : " Next stage " + DATE.format(Instant.ofEpochMilli(next)) + ".";
        String line = text.replace("{minutes}", String.valueOf(minutes)).replace("{next}", date).replaceAll("[^ -~]", "?");
        return line.substring(0, Math.min(510, line.length())).stripTrailing();
    }
}

package zsd;

import ij.IJ;
import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.Proxy;
import java.net.URL;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.stream.Collectors;
import java.util.zip.ZipEntry;
import java.util.zip.ZipInputStream;

/**
 * A running `zsd serve` that has the model open: it spares the seconds that a new process takes for each image.
 *
 * <p>It tells of itself in a file in the user's cache. Where it cannot be used, the command is.
 */
final class Server {
    private static final String SCHEMA = "1";
    private static final int POLL_MS = 100;
    private static final int CONNECT_MS = 2000;
    private static final int DONE = 200;

    /** The request is at fault, or its work failed: the command would say the same. */
    private static final int AT_FAULT = 400;

    private static final int FAILED = 500;

    private final String address;
    private final String token;

    private Server(String address, String token) {
        this.address = address;
        this.token = token;
    }

    /** The server that has a model open, or null. */
    static Server find(String model) {
        File[] files = folder().listFiles();
        for (File file : files == null ? new File[0] : files)
            try {
                Map<String, String> values = read(file);
                boolean alive = !new File("/proc/self").exists() || new File("/proc", values.get("pid")).exists();
                boolean same = new File(model).getCanonicalPath().equals(values.get("package"));
                if (SCHEMA.equals(values.get("schema")) && alive && same)
                    return new Server(values.get("address"), values.get("token"));
            } catch (IOException | RuntimeException unreadable) {
                // then it does not count
            }
        return null;
    }

    /** As platformdirs has it in Python. */
    private static File folder() {
        String home = System.getProperty("user.home");
        String system = System.getProperty("os.name").toLowerCase();
        String cache = System.getenv(system.startsWith("windows") ? "LOCALAPPDATA" : "XDG_CACHE_HOME");
        if (system.startsWith("windows"))
            return new File(cache == null ? home + "/AppData/Local" : cache, "zsd/Cache/servers");
        if (system.startsWith("mac"))
            return new File(home, "Library/Caches/zsd/servers");
        return new File(cache == null || cache.isEmpty() ? home + "/.cache" : cache, "zsd/servers");
    }

    private static Map<String, String> read(File file) throws IOException {
        Map<String, String> values = new HashMap<String, String>();
        for (String line : Files.readAllLines(file.toPath(), StandardCharsets.UTF_8)) {
            int end = line.indexOf('=');
            if (end > 0)
                values.put(line.substring(0, end), line.substring(end + 1));
        }
        return values;
    }

    /**
     * Restore an image.
     *
     * @param noisy a TIFF
     * @param work the folder that its results come to
     * @param name what results are called, before their endings
     * @param endings of the results that are wanted
     * @return whether the server did it; if not, nothing was written
     * @throws IOException with the server's sentence, when the image is at fault
     * @throws CancellationException when Esc was pressed or ImageJ quits
     */
    boolean restore(Path noisy, Path work, String name, String... endings) throws IOException {
        Request request = new Request(noisy, work, name, endings);
        Thread thread = new Thread(request, "zsd request");
        thread.setDaemon(true);
        IJ.resetEscape();
        IJ.showStatus("zsd: restoring (Esc stops)");
        thread.start();
        try {
            while (thread.isAlive()) {
                thread.join(POLL_MS);
                if (IJ.escapePressed())
                    throw new CancellationException();
            }
        } catch (InterruptedException quitting) {
            throw new CancellationException();
        } finally {
            request.connection.disconnect();  // the server then stops its work
        }
        if (request.error != null)
            throw new IOException(request.error);
        return request.done;
    }

    private final class Request implements Runnable {
        final HttpURLConnection connection;
        volatile boolean done;
        volatile String error;
        private final Path noisy;
        private final Path work;
        private final String name;
        private final String[] endings;

        Request(Path noisy, Path work, String name, String... endings) throws IOException {
            this.noisy = noisy;
            this.work = work;
            this.name = name;
            this.endings = endings;
            String called = URLEncoder.encode(noisy.getFileName().toString(), "UTF-8");
            URL url = new URL(address + "/restore?name=" + called);
            connection = (HttpURLConnection) url.openConnection(Proxy.NO_PROXY);
        }

        @Override
        public void run() {
            try {
                connection.setRequestMethod("POST");
                connection.setRequestProperty("Authorization", "Bearer " + token);
                connection.setConnectTimeout(CONNECT_MS);
                connection.setDoOutput(true);
                connection.setFixedLengthStreamingMode(Files.size(noisy));
                try (OutputStream body = connection.getOutputStream()) {
                    Files.copy(noisy, body);
                }
                int status = connection.getResponseCode();
                if (status == DONE)
                    unpack(connection.getInputStream());
                else if (status == AT_FAULT || status == FAILED)
                    error = text(connection.getErrorStream());
                done = status == DONE;
            } catch (IOException unreachable) {
                done = false;
            }
        }

        private void unpack(InputStream answer) throws IOException {
            try (ZipInputStream files = new ZipInputStream(answer)) {
                for (ZipEntry file = files.getNextEntry(); file != null; file = files.getNextEntry())
                    for (String ending : endings)
                        if (file.getName().endsWith(ending)) {
                            Path target = work.resolve(name + ending);
                            Files.deleteIfExists(target);
                            Files.copy(files, target);
                        }
            }
        }

        private String text(InputStream answer) {
            return new BufferedReader(new InputStreamReader(answer, StandardCharsets.UTF_8)).lines()
                    .collect(Collectors.joining(" "));
        }
    }
}

package zsd;

import ij.IJ;
import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The zsd command: where it is, and one run of it, whose progress ImageJ shows and which Esc stops. */
final class Command {
    /** Where a virtual environment, or a project with one, keeps its commands. */
    private static final String[] PLACES = {"", "bin/", "Scripts/", ".venv/bin/", ".venv/Scripts/"};

    private static final String[] NAMES = {"zsd", "zsd.exe"};

    /** In the folder of plugins: the path of the zsd that installed this one (`zsd fiji install`). */
    private static final String INSTALLED = "zsd-command.txt";

    private static final String REMEDY =
            ": give the path of zsd (on Windows zsd.exe), or of the virtual environment that it was installed into";

    /** "cell.tif 12 %", or in a batch "cell.tif (3 of 20) 12 %": what `zsd predict` says when nobody sees a bar. */
    private static final Pattern PROGRESS = Pattern.compile(".*?(?:\\((\\d+) of (\\d+)\\) )?(\\d+) %");

    /** "step 120, 3.2/s, loss 0.0123, 180 s left  ...": what a training says after each validation. */
    private static final Pattern STEP = Pattern.compile("(step \\d+), .*?(?:, (\\d+) s left)?  .*");

    private static final String ERROR = "error: ";
    private static final String WARNING = "warning: ";
    private static final int POLL_MS = 100;
    private static final int STOP_S = 10;

    private final List<String> errors = Collections.synchronizedList(new ArrayList<String>());
    private volatile String lastLine = "it said nothing";
    private volatile boolean training;
    private long trainingSince;

    private Command() {}

    /** A way to end a training with what it has reached. */
    interface Enough {
        /** Ask for it; false if that is not possible (again): then the command is stopped. */
        boolean ask() throws IOException;
    }

    /**
     * The command that a person means.
     *
     * @param given the command itself, a folder that has one (a virtual environment or a project), or nothing: the
     *     zsd that installed the plugin, or else the one on the PATH
     */
    static File find(String given) throws IOException {
        if (!given.isEmpty()) {
            File file = new File(given);
            File found = file.isDirectory() ? in(file, PLACES) : file;
            if (found == null || !found.canExecute())
                throw new IOException("there is no zsd command at " + given + REMEDY);
            return found;
        }
        File installed = installed();
        if (installed != null)
            return installed;
        String path = System.getenv("PATH");
        for (String folder : path == null ? new String[0] : path.split(File.pathSeparator)) {
            File found = in(new File(folder), "");
            if (found != null)
                return found;
        }
        throw new IOException("there is no zsd command on the PATH" + REMEDY);
    }

    /** The zsd that installed the plugin, or null: it was copied by hand, or that zsd is gone. */
    private static File installed() {
        String plugins = IJ.getDirectory("plugins");
        if (plugins == null)
            return null;
        File note = new File(plugins, INSTALLED);
        try {
            File command = new File(new String(Files.readAllBytes(note.toPath()), StandardCharsets.UTF_8).trim());
            return command.isFile() && command.canExecute() ? command : null;
        } catch (IOException | RuntimeException unreadable) {
            return null;
        }
    }

    private static File in(File folder, String... places) {
        for (String place : places)
            for (String name : NAMES) {
                File file = new File(folder, place + name);
                if (file.isFile() && file.canExecute())
                    return file;
            }
        return null;
    }

    /**
     * Run the command until it ends.
     *
     * @throws IOException with its last line, when it failed
     * @throws CancellationException when Esc was pressed or ImageJ quits
     */
    static void run(File command, String... arguments) throws IOException {
        run(command, () -> false, Arrays.asList(arguments));
    }

    /** The same; Esc in a training ends it with what it has reached, and stops the command only if that fails. */
    static void run(File command, Enough enough, List<String> arguments) throws IOException {
        List<String> line = new ArrayList<String>();
        line.add(command.getPath());
        line.addAll(arguments);
        // One pipe for both streams: with two, a command that fills the one that nobody reads waits for ever.
        ProcessBuilder builder = new ProcessBuilder(line).redirectErrorStream(true);
        builder.environment().put("PYTHONIOENCODING", "utf-8");
        Process process = builder.start();
        Command run = new Command();
        try {
            process.getOutputStream().close();
            run.follow(process, enough);
        } finally {
            stop(process);
            IJ.showProgress(1.0);
        }
        if (process.exitValue() != 0)
            throw new IOException(run.failure(process.exitValue()));
    }

    private void follow(Process process, Enough enough) throws IOException {
        IJ.resetEscape();
        IJ.showStatus("zsd: starting (Esc stops)");
        Thread reader = new Thread(() -> read(process), "zsd output");
        reader.setDaemon(true);
        reader.start();
        try {
            while (!process.waitFor(POLL_MS, TimeUnit.MILLISECONDS))
                if (IJ.escapePressed()) {
                    if (!training || !enough.ask())
                        throw new CancellationException();
                    IJ.resetEscape();
                    IJ.showStatus("zsd: ending the training (Esc stops everything)");
                }
            reader.join(TimeUnit.SECONDS.toMillis(STOP_S));  // somebody else may hold the pipe: don't wait for ever
        } catch (InterruptedException quitting) {
            throw new CancellationException();
        }
    }

    private void read(Process process) {
        try (BufferedReader lines =
                new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine())
                if (!showProgress(line) && !showTraining(line))
                    remember(line.trim());
        } catch (IOException closed) {
            // the process was stopped; what it had said is kept
        }
    }

    private void remember(String line) {
        if (line.startsWith(ERROR))
            errors.add(line.substring(ERROR.length()));
        if (line.startsWith(WARNING))
            IJ.log("zsd: " + line);
        if (line.startsWith("exporting"))
            training = false;
        if (!line.isEmpty())
            lastLine = line;
    }

    private static boolean showProgress(String line) {
        Matcher progress = PROGRESS.matcher(line);
        if (!progress.matches())
            return false;
        double share = Integer.parseInt(progress.group(3)) / 100.0;
        if (progress.group(1) != null)
            share = (Integer.parseInt(progress.group(1)) - 1 + share) / Integer.parseInt(progress.group(2));
        IJ.showStatus("zsd: " + line + " (Esc stops)");
        IJ.showProgress(share);
        return true;
    }

    private boolean showTraining(String line) {
        Matcher step = STEP.matcher(line);
        if (!step.matches())
            return false;
        long now = System.nanoTime();
        if (!training)
            trainingSince = now;
        training = true;
        if (line.contains(WARNING))
            IJ.log("zsd: " + line.substring(line.indexOf(WARNING)));
        String left = step.group(2);
        IJ.showStatus("zsd: training, " + step.group(1) + (left == null ? "" : ", " + left + " s left")
                + " (Esc ends it and uses the result)");
        double spent = (now - trainingSince) / 1e9;
        if (left != null)
            IJ.showProgress(spent / Math.max(spent + Integer.parseInt(left), 1));
        return true;
    }

    /** First politely, so that it removes what is half-written. */
    private static void stop(Process process) {
        try {
            process.destroy();
            if (!process.waitFor(STOP_S, TimeUnit.SECONDS))
                process.destroyForcibly().waitFor();
        } catch (InterruptedException quitting) {
            process.destroyForcibly();
        }
    }

    /** Its last line says what failed. Of a batch, each file that failed goes to the log. */
    private String failure(int status) {
        if (!lastLine.startsWith(ERROR))
            return "zsd ended with exit status " + status + ": " + lastLine;
        synchronized (errors) {
            for (String error : errors.subList(0, errors.size() - 1))
                IJ.log("zsd: " + error);
        }
        return lastLine.substring(ERROR.length());
    }
}

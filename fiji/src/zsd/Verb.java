package zsd;

import ij.IJ;
import ij.Macro;
import ij.macro.Interpreter;
import ij.plugin.PlugIn;
import java.awt.GraphicsEnvironment;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** What the commands in Plugins &gt; zsd share: options of a macro or a dialog, then work that may fail or be stopped. */
abstract class Verb implements PlugIn {
    static final String PREFS_MODEL = "zsd.model";
    static final String PREFS_COMMAND = "zsd.command";
    private static final long QUIT_S = 15;

    final String title;

    Verb(String title) {
        this.title = title;
    }

    /** Take the options of a macro, or ask; false when the person cancels. */
    abstract boolean choose();

    /** Do it; errors are sentences for the person. */
    abstract void work() throws IOException;

    @Override
    public final void run(String ignored) {
        Thread plugin = Thread.currentThread();
        CountDownLatch cleared = new CountDownLatch(1);
        Thread quit = new Thread(() -> stop(plugin, cleared));
        Runtime.getRuntime().addShutdownHook(quit);
        try {
            try {
                if (choose())
                    work();
            } finally {
                cleared.countDown();
                forget(quit);
            }
        } catch (CancellationException cancelled) {
            IJ.showStatus("zsd: stopped");
            abortMacro();
        } catch (IOException error) {
            report(error.getMessage());
        }
    }

    /** When ImageJ quits, the command ends and temporary files go, as when Esc is pressed. */
    private static void stop(Thread plugin, CountDownLatch cleared) {
        plugin.interrupt();
        try {
            cleared.await(QUIT_S, TimeUnit.SECONDS);
        } catch (InterruptedException hurry) {
            // then they stay
        }
    }

    private static void forget(Thread hook) {
        try {
            Runtime.getRuntime().removeShutdownHook(hook);
        } catch (IllegalStateException quitting) {
            // it is what runs now
        }
    }

    private void report(String message) {
        IJ.showStatus("");
        if (isMacro()) {
            IJ.log("zsd: " + message);
            abortMacro();
        } else {
            IJ.error(title, message);
        }
    }

    /** What follows in a macro would take another image for the result. */
    private static void abortMacro() {
        if (isMacro()) {
            Interpreter.abort();
            throw new RuntimeException(Macro.MACRO_CANCELED);
        }
    }

    static boolean isMacro() {
        return Macro.getOptions() != null || Interpreter.isBatchMode() || GraphicsEnvironment.isHeadless();
    }

    static void removeFolder(Path folder) throws IOException {
        File[] files = folder.toFile().listFiles();
        for (File file : files == null ? new File[0] : files)
            Files.deleteIfExists(file.toPath());
        Files.deleteIfExists(folder);
    }
}

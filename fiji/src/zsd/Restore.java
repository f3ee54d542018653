package zsd;

import ij.CompositeImage;
import ij.IJ;
import ij.ImagePlus;
import ij.Macro;
import ij.Prefs;
import ij.WindowManager;
import ij.gui.GenericDialog;
import ij.io.FileSaver;
import ij.macro.Interpreter;
import ij.measure.Calibration;
import ij.plugin.PlugIn;
import ij.process.ImageProcessor;
import ij.process.LUT;
import java.awt.GraphicsEnvironment;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/**
 * Plugins &gt; zsd &gt; Restore...: denoise and deconvolve the active image, or a folder of images, with `zsd predict`.
 *
 * <p>What passes between ImageJ and zsd is a file: the image as it is open goes out as a TIFF, the results come back as
 * TIFFs. A running `zsd serve` that has the model open is used; otherwise a `zsd predict` is started.
 */
public final class Restore implements PlugIn {
    private static final String TITLE = "zsd: restore";
    private static final String PREFS_MODEL = "zsd.model";
    private static final String PREFS_COMMAND = "zsd.command";

    /** Endings of zsd's results; a model has one or both. The last one is the active image in the end. */
    private static final String[] RESULTS = {"_denoised.tif", "_deconvolved.tif"};

    /** Share of the pixels that are shown black, and white. */
    private static final double SATURATED = 0.001;

    private static final int SAMPLES = 1_000_000;
    private static final long QUIT_S = 15;

    private String model;
    private String command;
    private String folder;
    private String output;

    @Override
    public void run(String ignored) {
        Thread plugin = Thread.currentThread();
        CountDownLatch cleared = new CountDownLatch(1);
        Thread quit = new Thread(() -> stop(plugin, cleared));
        Runtime.getRuntime().addShutdownHook(quit);
        try {
            try {
                if (choose())
                    restore();
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

    private static void report(String message) {
        IJ.showStatus("");
        if (isMacro()) {
            IJ.log("zsd: " + message);
            abortMacro();
        } else {
            IJ.error(TITLE, message);
        }
    }

    /** What follows in a macro would take another image for the result. */
    private static void abortMacro() {
        if (isMacro()) {
            Interpreter.abort();
            throw new RuntimeException(Macro.MACRO_CANCELED);
        }
    }

    private static boolean isMacro() {
        return Macro.getOptions() != null || Interpreter.isBatchMode() || GraphicsEnvironment.isHeadless();
    }

    /** Take the options of a macro, or ask; false when the person cancels. */
    private boolean choose() {
        String rememberedModel = Prefs.get(PREFS_MODEL, "");
        String rememberedCommand = Prefs.get(PREFS_COMMAND, "");
        if (isMacro()) {
            String options = Macro.getOptions() == null ? "" : Macro.getOptions();
            model = Macro.getValue(options, "model", "");
            command = Macro.getValue(options, "zsd", rememberedCommand);
            folder = Macro.getValue(options, "folder", "");
            output = Macro.getValue(options, "output", "");
            return true;
        }
        ImagePlus image = WindowManager.getCurrentImage();
        // The first word of a label is the key in macros; the recorder writes it.
        GenericDialog dialog = new GenericDialog(TITLE);
        dialog.addMessage("Denoise and deconvolve " + (image == null ? "a folder of images" : image.getTitle()));
        dialog.addFileField("Model package", rememberedModel, 40);
        dialog.addFileField("zsd command", rememberedCommand, 40);
        dialog.addDirectoryField("Folder of images", "", 40);
        dialog.addDirectoryField("Output folder", "", 40);
        dialog.addMessage("zsd command: empty for the zsd that installed the plugin, or the one on the PATH\n"
                + "Folder of images: empty for the active image\n"
                + "Output folder: empty to open the results only; of a folder, its subfolder 'restored'");
        dialog.showDialog();
        if (dialog.wasCanceled())
            return false;
        model = dialog.getNextString().trim();
        command = dialog.getNextString().trim();
        folder = dialog.getNextString().trim();
        output = dialog.getNextString().trim();
        Prefs.set(PREFS_MODEL, model);
        Prefs.set(PREFS_COMMAND, command);
        return true;
    }

    private void restore() throws IOException {
        if (model.isEmpty())
            throw new IOException("no model is given: make one with `zsd export`, and give its folder or zip "
                    + "(in a macro model=...)");
        if (folder.isEmpty())
            restoreImage();
        else
            restoreFolder(Command.find(command));
    }

    private void restoreFolder(File zsd) throws IOException {
        String out = output.isEmpty() ? new File(folder, "restored").getPath() : output;
        Command.run(zsd, "predict", model, folder, "--out", out);
        IJ.showStatus("zsd: restored in " + out);
    }

    /** zsd works in a folder beside the results, so that they come to their place in one move, whole or not at all. */
    private void restoreImage() throws IOException {
        Server server = Server.find(model);
        File zsd = server == null ? Command.find(command) : null;
        ImagePlus image = WindowManager.getCurrentImage();
        if (image == null)
            throw new IOException("no image is open: open one, or give a folder (in a macro folder=...)");
        check(image);
        Path work = output.isEmpty()
                ? Files.createTempDirectory("zsd-")
                : Files.createTempDirectory(Files.createDirectories(new File(output).toPath()), ".zsd-");
        try {
            String name = stem(image.getTitle());
            Path noisy = work.resolve(name + ".tif");
            save(image, noisy);
            if (server == null || !server.restore(noisy, work, name, RESULTS)) {
                zsd = zsd == null ? Command.find(command) : zsd;
                Command.run(zsd, "predict", model, noisy.toString(), "--out", work.toString());
            }
            for (Path result : kept(work, name))
                show(result, image);
            IJ.showStatus("zsd: " + image.getTitle() + " is restored");
        } finally {
            remove(work);
        }
    }

    private static void check(ImagePlus image) throws IOException {
        if (image.getBitDepth() == 24)
            throw new IOException(image.getTitle() + " is a colour image (RGB), and zsd needs camera counts: split it "
                    + "with Image > Color > Split Channels and restore one of them");
        if (image.getCalibration().isSigned16Bit())
            throw new IOException(image.getTitle() + " is signed 16-bit, which ImageJ stores shifted by 32768: convert "
                    + "it with Image > Type > 32-bit");
    }

    /** A title without .tif and the like, and without what a file's name must not have. */
    private static String stem(String title) {
        String stem = title.replaceFirst("(?i)(\\.ome)?\\.[a-z][a-z0-9]{1,4}$", "");
        return stem.replaceAll("[\\\\/:*?\"<>|\\p{Cntrl}]", "_");
    }

    /** Of a twin with the same pixels: saving an image renames it and takes its changes for saved. */
    private static void save(ImagePlus image, Path path) throws IOException {
        ImagePlus twin = image.getStackSize() > 1
                ? new ImagePlus(image.getTitle(), image.getStack())
                : new ImagePlus(image.getTitle(), image.getProcessor());
        twin.setDimensions(image.getNChannels(), image.getNSlices(), image.getNFrames());
        twin.setOpenAsHyperStack(true);
        twin.setCalibration(image.getCalibration());
        twin.setProperty("Info", image.getProperty("Info"));
        FileSaver saver = new FileSaver(twin);
        boolean saved =
                image.getStackSize() > 1 ? saver.saveAsTiffStack(path.toString()) : saver.saveAsTiff(path.toString());
        if (!saved)
            throw new IOException("cannot write " + path + ": free some disk, or give an output folder on another one");
    }

    /** The results, at their place in the output folder if there is one; all of them before one is opened and fails. */
    private List<Path> kept(Path work, String name) throws IOException {
        List<Path> results = new ArrayList<Path>();
        for (String ending : RESULTS) {
            Path result = work.resolve(name + ending);
            if (!Files.exists(result))
                continue;
            if (!output.isEmpty())
                result = Files.move(result, new File(output, name + ending).toPath(),
                        StandardCopyOption.REPLACE_EXISTING);
            results.add(result);
        }
        return results;
    }

    private void show(Path path, ImagePlus source) throws IOException {
        ImagePlus result = IJ.openImage(path.toString());
        if (result == null)
            throw new IOException("cannot open " + path + ": give ImageJ more memory, in Edit > Options");
        result = withDisplayOf(source, result);
        result.setCalibration(finer(source, result));
        result.setTitle(WindowManager.makeUniqueName(result.getTitle()));
        if (output.isEmpty()) {
            result.setFileInfo(null);  // its file goes: ImageJ must not revert to it, and asks before the image is lost
            result.changes = true;
        }
        result.show();
    }

    /** The source's calibration, in whatever unit, on the grid of the result. */
    private static Calibration finer(ImagePlus source, ImagePlus result) {
        Calibration calibration = source.getCalibration().copy();
        double x = (double) result.getWidth() / source.getWidth();
        double y = (double) result.getHeight() / source.getHeight();
        double z = (double) result.getNSlices() / source.getNSlices();
        calibration.pixelWidth /= x;
        calibration.pixelHeight /= y;
        calibration.pixelDepth /= z;
        calibration.xOrigin *= x;
        calibration.yOrigin *= y;
        calibration.zOrigin *= z;
        calibration.setFunction(Calibration.NONE, null, "Gray Value");
        return calibration;
    }

    /** The source's colours; the range is the result's own, as its counts begin at the offset. */
    private static ImagePlus withDisplayOf(ImagePlus source, ImagePlus result) {
        LUT[] luts = source.getLuts();
        for (int channel = 1; channel <= luts.length; channel++) {
            double[] range = range(result, channel);
            luts[channel - 1] = (LUT) luts[channel - 1].clone();
            luts[channel - 1].min = range[0];
            luts[channel - 1].max = range[1];
        }
        if (source.getNChannels() == 1) {
            result.setLut(luts[0]);
            result.setDisplayRange(luts[0].min, luts[0].max);
            return result;
        }
        int mode = source instanceof CompositeImage ? ((CompositeImage) source).getMode() : CompositeImage.GRAYSCALE;
        CompositeImage composite = new CompositeImage(result, mode);
        composite.setLuts(luts);
        return composite;
    }

    /** What all but the darkest and the brightest pixels of a channel lie between. */
    private static double[] range(ImagePlus image, int channel) {
        List<float[]> samples = new ArrayList<float[]>();
        int planes = image.getNSlices() * image.getNFrames();
        int each = Math.max(1, SAMPLES / planes);
        for (int frame = 1; frame <= image.getNFrames(); frame++)
            for (int slice = 1; slice <= image.getNSlices(); slice++)
                samples.add(sample(plane(image, image.getStackIndex(channel, slice, frame)), each));
        float[] all = new float[samples.size() * samples.get(0).length];
        for (int i = 0; i < samples.size(); i++)
            System.arraycopy(samples.get(i), 0, all, i * samples.get(0).length, samples.get(0).length);
        Arrays.sort(all);
        int cut = (int) (SATURATED * all.length);
        return new double[] {all[cut], all[all.length - 1 - cut]};
    }

    /** Without asking a single plane for its stack, which would label it. */
    private static ImageProcessor plane(ImagePlus image, int index) {
        return image.getStackSize() > 1 ? image.getStack().getProcessor(index) : image.getProcessor();
    }

    private static float[] sample(ImageProcessor plane, int count) {
        float[] values = new float[Math.min(count, plane.getPixelCount())];
        for (int i = 0; i < values.length; i++)
            values[i] = plane.getf((int) ((long) i * plane.getPixelCount() / values.length));
        return values;
    }

    private static void remove(Path folder) throws IOException {
        File[] files = folder.toFile().listFiles();
        for (File file : files == null ? new File[0] : files)
            Files.deleteIfExists(file.toPath());
        Files.deleteIfExists(folder);
    }
}

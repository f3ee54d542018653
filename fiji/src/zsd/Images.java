package zsd;

import ij.CompositeImage;
import ij.IJ;
import ij.ImagePlus;
import ij.WindowManager;
import ij.io.FileSaver;
import ij.measure.Calibration;
import ij.process.ImageProcessor;
import ij.process.LUT;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Images on their way to zsd and back, which are files: what is checked, written, and shown. */
final class Images {
    /** Endings of zsd's results; a model has one or both. The last one is the active image in the end. */
    static final String[] RESULTS = {"_denoised.tif", "_deconvolved.tif"};

    /** Share of the pixels that are shown black, and white. */
    private static final double SATURATED = 0.001;

    private static final int SAMPLES = 200_000;

    private Images() {}

    /** The image that a command works on; `remedy` says what to do if there is none. */
    static ImagePlus active(String remedy) throws IOException {
        ImagePlus image = WindowManager.getCurrentImage();
        if (image == null)
            throw new IOException("no image is open: " + remedy);
        check(image);
        return image;
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
    static String stem(String title) {
        String stem = title.replaceFirst("(?i)(\\.ome)?\\.[a-z][a-z0-9]{1,4}$", "");
        return stem.replaceAll("[\\\\/:*?\"<>|\\p{Cntrl}]", "_");
    }

    /** Of a twin with the same pixels: saving an image renames it and takes its changes for saved. */
    static void save(ImagePlus image, Path path) throws IOException {
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

    /**
     * Open a result, with the calibration and the colours of the image that it was made from.
     *
     * @param kept whether its file stays; if not, ImageJ asks before the image is lost
     */
    static void show(Path path, ImagePlus source, boolean kept) throws IOException {
        ImagePlus result = IJ.openImage(path.toString());
        if (result == null)
            throw new IOException("cannot open " + path + ": give ImageJ more memory, in Edit > Options");
        result = withDisplayOf(source, result);
        result.setCalibration(finer(source, result));
        result.setTitle(WindowManager.makeUniqueName(result.getTitle()));
        if (!kept) {
            result.setFileInfo(null);  // its file goes: ImageJ must not revert to it
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
}

package zsd;

import ij.IJ;
import ij.ImagePlus;
import ij.Macro;
import ij.Prefs;
import ij.WindowManager;
import ij.gui.GenericDialog;
import ij.io.FileInfo;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Plugins &gt; zsd &gt; Train and restore...: learn from the active image alone, with `zsd restore`, and open what the
 * network makes of it. The model is kept for further images: Plugins &gt; zsd &gt; Restore... then has it in its dialog.
 */
public final class Train extends Verb {
    private static final String PREFS = "zsd.train.";

    /** In the folder of a run: ends the training with the result so far. */
    private static final String STOP = "stop";

    /**
     * Fields of the dialog. The first word of a label, in small letters, is the key in macros; the recorder writes it.
     * Empty fields are left to zsd, which reads pixel size and z step from the image's calibration.
     */
    private enum Field {
        PSF("PSF file", "--psf"),
        NA("NA of the objective", "--na"),
        WAVELENGTH("Wavelength (nm)", "--wavelength"),
        INDEX("Index of refraction", "--refractive-index"),
        SIGMA("Sigma of a Gaussian PSF (pixels)", "--psf-sigma"),
        PIXEL("Pixel size (\u00b5m)", "--pixel-size"),
        STEP("Step in z (\u00b5m)", "--z-step"),
        MINUTES("Minutes of training", "--minutes"),
        OUTPUT("Output folder", "--out"),
        OPTIONS("Options of zsd restore", null),
        ZSD("zsd command", null);

        final String label;
        final String option;

        Field(String label, String option) {
            this.label = label;
            this.option = option;
        }

        String key() {
            return label.split(" ")[0].toLowerCase();
        }

        /** Paths of this image and this machine are not remembered. */
        boolean isRemembered() {
            return this != OUTPUT && this != PIXEL && this != STEP;
        }
    }

    private static final String OVERWRITE = "Overwrite earlier results";

    private final Map<Field, String> values = new EnumMap<Field, String>(Field.class);
    private boolean overwrite;

    public Train() {
        super("zsd: train and restore");
    }

    @Override
    boolean choose() {
        if (isMacro()) {
            String options = Macro.getOptions() == null ? "" : Macro.getOptions();
            for (Field field : Field.values())
                values.put(field, Macro.getValue(options, field.key(), "").trim());
            if (given(Field.ZSD).isEmpty())
                values.put(Field.ZSD, Prefs.get(PREFS_COMMAND, ""));
            overwrite = (" " + options + " ").contains(" overwrite ");
            return true;
        }
        GenericDialog dialog = dialog(WindowManager.getCurrentImage());
        dialog.showDialog();
        if (dialog.wasCanceled())
            return false;
        for (Field field : Field.values()) {
            values.put(field, dialog.getNextString().trim());
            if (field.isRemembered())
                Prefs.set(remembered(field), given(field));
        }
        overwrite = dialog.getNextBoolean();
        return true;
    }

    private String given(Field field) {
        return values.get(field);
    }

    private GenericDialog dialog(ImagePlus image) {
        GenericDialog dialog = new GenericDialog(title);
        dialog.addMessage("Train on " + (image == null ? "the active image" : image.getTitle()) + ", and restore it");
        for (Field field : Field.values()) {
            String value = field.isRemembered() ? Prefs.get(remembered(field), "") : "";
            if (field == Field.PSF || field == Field.ZSD)
                dialog.addFileField(field.label, value, 30);
            else if (field == Field.OUTPUT)
                dialog.addDirectoryField(field.label, image == null ? "" : besides(image), 30);
            else
                dialog.addStringField(field.label, value, field == Field.OPTIONS ? 30 : 10);
        }
        dialog.addCheckbox(OVERWRITE, false);
        dialog.addMessage("Give one PSF: a file, or NA and wavelength, or sigma.\n"
                + "Pixel size and z step: empty for the image's calibration. Minutes: empty for 4, for volumes 15.\n"
                + "The output folder keeps results and model. zsd command: empty for the one that installed the plugin.\n"
                + "Esc ends the training and uses its result; once more, it stops everything.");
        return dialog;
    }

    private static String remembered(Field field) {
        return field == Field.ZSD ? PREFS_COMMAND : PREFS + field.key();
    }

    /** A folder beside the file of an image; empty if it has none. */
    private static String besides(ImagePlus image) {
        FileInfo file = image.getOriginalFileInfo();
        boolean saved = file != null && file.directory != null && !file.directory.isEmpty()
                && new File(file.directory).isDirectory();
        return saved ? new File(file.directory, Images.stem(image.getTitle()) + "_zsd").getPath() : "";
    }

    @Override
    void work() throws IOException {
        File zsd = Command.find(given(Field.ZSD));
        ImagePlus image = Images.active("open one");
        String out = given(Field.OUTPUT).isEmpty() ? besides(image) : given(Field.OUTPUT);
        if (out.isEmpty())
            throw new IOException("no output folder is given, and " + image.getTitle() + " is not saved: give the "
                    + "folder that results and model are kept in (in a macro output=...)");
        Path folder = Files.createDirectories(new File(out).toPath());
        Path work = Files.createTempDirectory(folder, ".zsd-");
        String name = Images.stem(image.getTitle());
        try {
            Path noisy = work.resolve(name + ".tif");
            Images.save(image, noisy);
            Command.run(zsd, new EndOfTraining(folder.resolve("run").toFile()), arguments(noisy, image, out));
        } catch (IOException error) {
            throw new IOException(withFields(String.valueOf(error.getMessage())), error);
        } finally {
            removeFolder(work);
            folder.toFile().delete();  // does nothing unless it is empty
        }
        File model = new File(out, "model.zip");
        Prefs.set(PREFS_MODEL, (model.exists() ? model : new File(out, "models")).getPath());
        for (String ending : Images.RESULTS)
            if (Files.exists(folder.resolve(name + ending)))
                Images.show(folder.resolve(name + ending), image, true);
        IJ.showStatus("zsd: " + image.getTitle() + " is restored");
    }

    private List<String> arguments(Path noisy, ImagePlus image, String out) {
        List<String> arguments = new ArrayList<String>(Arrays.asList("restore", noisy.toString(), "--out", out));
        for (Field field : Field.values())
            if (field.option != null && field != Field.OUTPUT && !given(field).isEmpty())
                arguments.addAll(Arrays.asList(field.option, given(field)));
        List<String> others = words(given(Field.OPTIONS));
        if (image.getNChannels() > 1 && !others.contains("--channels"))
            arguments.addAll(Arrays.asList("--channels", "all"));
        if (overwrite)
            arguments.add("--overwrite");
        arguments.addAll(others);
        return arguments;
    }

    /** Words with spaces between; those in quotes may have spaces. */
    private static List<String> words(String line) {
        List<String> words = new ArrayList<String>();
        Matcher word = Pattern.compile("\"([^\"]*)\"|'([^']*)'|(\\S+)").matcher(line);
        while (word.find())
            words.add(word.group(1) != null ? word.group(1) : word.group(2) != null ? word.group(2) : word.group(3));
        return words;
    }

    /** An error of the command line, in which options are called as the fields of the dialog. */
    private static String withFields(String message) {
        Map<String, String> names = new LinkedHashMap<String, String>();
        for (Field field : Field.values())
            if (field.option != null)
                names.put(field.option, "'" + field.label + "'");
        names.put("--overwrite", "'" + OVERWRITE + "'");
        for (Map.Entry<String, String> name : names.entrySet())
            message = message.replaceAll(name.getKey() + "(?![\\w-])", Matcher.quoteReplacement(name.getValue()));
        return message.contains(" --") ? message + "; what begins with -- goes into '" + Field.OPTIONS.label + "'" : message;
    }

    /** Ends the training that runs: of several channels, one after the other has a run folder. */
    private static final class EndOfTraining implements Command.Enough {
        private final File run;

        EndOfTraining(File run) {
            this.run = run;
        }

        @Override
        public boolean ask() throws IOException {
            File newest = run;
            File[] inside = run.listFiles(File::isDirectory);
            for (File folder : inside == null ? new File[0] : inside)
                if (begun(folder) > begun(newest))
                    newest = folder;
            return begun(newest) > 0 && new File(newest, STOP).createNewFile();
        }

        /** A training writes this file when it begins, and once more when it ends. */
        private static long begun(File folder) {
            return new File(folder, "config.toml").lastModified();
        }
    }
}

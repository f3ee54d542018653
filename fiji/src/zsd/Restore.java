package zsd;

import ij.IJ;
import ij.ImagePlus;
import ij.Macro;
import ij.Prefs;
import ij.WindowManager;
import ij.gui.GenericDialog;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;

/**
 * Plugins &gt; zsd &gt; Restore...: denoise and deconvolve the active image, or a folder of images, with `zsd predict`.
 *
 * <p>What passes between ImageJ and zsd is a file: the image as it is open goes out as a TIFF, the results come back as
 * TIFFs. A running `zsd serve` that has the model open is used; otherwise a `zsd predict` is started.
 */
public final class Restore extends Verb {
    private String model;
    private String command;
    private String folder;
    private String output;

    public Restore() {
        super("zsd: restore");
    }

    /** Take the options of a macro, or ask; false when the person cancels. */
    @Override
    boolean choose() {
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
        GenericDialog dialog = new GenericDialog(title);
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

    @Override
    void work() throws IOException {
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
        ImagePlus image = Images.active("open one, or give a folder (in a macro folder=...)");
        Path work = output.isEmpty()
                ? Files.createTempDirectory("zsd-")
                : Files.createTempDirectory(Files.createDirectories(new File(output).toPath()), ".zsd-");
        try {
            String name = Images.stem(image.getTitle());
            Path noisy = work.resolve(name + ".tif");
            Images.save(image, noisy);
            if (server == null || !server.restore(noisy, work, name, Images.RESULTS)) {
                zsd = zsd == null ? Command.find(command) : zsd;
                Command.run(zsd, "predict", model, noisy.toString(), "--out", work.toString());
            }
            for (Path result : kept(work, name))
                Images.show(result, image, !output.isEmpty());
            IJ.showStatus("zsd: " + image.getTitle() + " is restored");
        } finally {
            removeFolder(work);
        }
    }

    /** The results, at their place in the output folder if there is one; all of them before one is opened and fails. */
    private List<Path> kept(Path work, String name) throws IOException {
        List<Path> results = new ArrayList<Path>();
        for (String ending : Images.RESULTS) {
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
}

"""The table of checks: what each number is called, how to read it, what each light says, and what to do."""

from zsd_export.report.check import Check

NEW_MODEL = "Train a model on this image, or on images of the same camera setting."
TRAIN_AGAIN = "Train again, with more time or another seed, and compare the two results."

CHECKS = {
    # 1 fit for use
    "counts": Check(
        "Counts and noise that differ from the training", "",
        "How many of dark level, noise and brightness are not those of the model's training.",
        "Dark level, noise and brightness are as in the training.",
        "The counts of this image are not those of the camera setting that the model knows.",
        remedy=f"Use the raw counts of the camera. {NEW_MODEL}",
    ),
    "pixel_size": Check(
        "Sizes that differ from the training", "",
        "Pixel size and z step must be those of the training within 5 %: the model has learnt a blur in pixels.",
        "Pixel size and z step are those of the training.",
        "The pixels have another size than in the training, so the blur in pixels is another.",
        remedy="Correct the size if the file is wrong (--pixel-size, --z-step); otherwise train on images of this "
        "size.",
    ),
    "channel": Check(
        "Channels that differ from the training", "",
        "A model belongs to one channel: another dye has another structure and wavelength.",
        "The channel is the one that the model was trained on.",
        "The model was trained on another channel.",
        remedy="Take the model of this channel, or train one.",
    ),
    "more_saturated": Check(
        "Saturation beyond the training's", "",
        "1 if more pixels are saturated than in the training.",
        "No more pixels are saturated than in the training.",
        "More pixels are saturated than in the training; what was brighter is lost.",
        remedy="Expose shorter.",
    ),
    # 3 resolution
    "resolution_kept": Check(
        "Detail of the denoised image, relative to the photons", "times",
        "Finest detail of the denoised image that agrees with photons which the network did not see, over the finest "
        "detail of the raw image. Below 1 it is finer; above 1 detail was lost.",
        "The denoised image keeps the detail that the photons support.",
        "The denoised image has lost detail that the photons support.",
        remedy=TRAIN_AGAIN, form=".2f",
    ),
    # 4 error map
    "rsp": Check(
        "RSP, relative to what noise allows", "",
        "Correlation of the result, blurred again, with the raw image, over the one that a perfect result would have "
        "with this noise. 1 is as good as possible.",
        "Blurred again, the result looks like the raw image, as far as its noise lets one see.",
        "Blurred again, the result differs from the raw image: structure was moved, lost or made.",
        remedy="Look where the error map is bright. Check the PSF and the pixel sizes; then train again.", form=".3f",
    ),
    "rse": Check(
        "RSE, relative to the noise", "times",
        "Root of the mean squared difference between the raw image and the result blurred again, over the noise of "
        "the raw image. 1: only noise was taken away; more: structure, too; less: noise has stayed in the result.",
        "What was taken away is as large as the noise.",
        "What was taken away is not as large as the noise.",
        remedy="Above 1, look where the error map is bright. Below 1, noise stayed: train longer, or stop earlier.",
        form=".3f",
    ),
    "contradiction": Check(
        "Contradiction beyond noise", "times chance",
        "Differences between the raw image and the result blurred again, averaged over a few pixels, in standard "
        "errors of the noise. 1 is what chance makes; a denoised result follows the noise a little, so less is usual.",
        "On the whole, the result contradicts the image by no more than chance.",
        "In places the result contradicts the image: there is light that was not recorded, or light is missing.",
        "The result contradicts the image.",
        remedy="Look at the red and blue shapes in the picture. Check PSF and pixel sizes; train again.", form=".2f",
    ),
    "contradicted": Check(
        "Pixels that contradict the image", "%",
        "Pixels whose local difference is more than 3 standard errors of the noise: 0.27 % by chance.",
        "Hardly a pixel contradicts the image.", "Some regions contradict the image.",
        "Large regions contradict the image.",
        remedy="Do not interpret the red and blue regions of the picture.", form=".2f",
    ),
    # 5 uncertainty
    "error_over_gaussian": Check(
        "Estimated error, over that of the best Gaussian filter", "times",
        "Both errors are estimated without a truth, by photons that neither has seen. Below 1 the network is better. "
        "Above 1, the least that is certain.",
        "The network is closer to the sample than the best Gaussian filter.",
        "The network is not better than the best Gaussian filter on this image.",
        "A simple filter is better than the network on this image.",
        remedy=f"The model may not know this structure. {NEW_MODEL}", form=".2f",
    ),
    "uncertain": Check(
        "Bright pixels with an uncertainty above half their light", "%",
        "Of the pixels with a quarter of the brightest light or more: the 68 % interval is wider than ± half of it.",
        "Bright structure is certain.",
        "Part of the bright structure is uncertain: it would look different with other photons of the same scene.",
        "Much of the bright structure is uncertain.",
        remedy="Record more light, or average over larger areas before you measure.", form=".1f",
    ),
    # 6 residual
    "residual_next": Check(
        "Correlation of the residual with the next pixel", "",
        "The residual is what was taken away, in units of the noise. Of pure noise it is 0. Above 0 smooth structure "
        "was taken away with it; below 0 some noise stayed in the result.",
        "What was taken away looks like noise.",
        "What was taken away is not only noise.",
        remedy=f"Look at the picture of the residual for structure. {TRAIN_AGAIN}", form="+.3f",
    ),
    "residual_deviation": Check(
        "Standard deviation of the residual", "of the noise",
        "1 if just the noise was taken away; less if some of it stayed, more if structure went, too.",
        "As much was taken away as the noise is large.",
        "Not as much was taken away as the noise is large.",
        remedy="Below 1 the result still holds noise: do not read fine grain as structure. Above 1 structure was lost, "
        "or the noise was measured too low.",
        form=".3f",
    ),
    "residual_bias": Check(
        "Largest bias at any brightness", "of the noise",
        "Mean of the residual in groups of equally bright pixels. 0: the result is neither too bright nor too dim.",
        "Neither dark nor bright parts are shifted.",
        "At some brightness the result is too bright or too dim.",
        remedy="Do not compare intensities across brightness; train longer.", form=".3f",
    ),
    "residual_deconvolved": Check(
        "The same, of the deconvolved image blurred again", "",
        "The deconvolved image is blurred by the PSF before it is compared. Above 0, structure is left that no image "
        "can make with this PSF: it may be too wide.",
        "With this PSF, the deconvolved image explains the raw one.",
        "With this PSF, the deconvolved image does not explain the raw one.",
        remedy="Check the PSF and the pixel sizes; then train again, longer.", form="+.3f",
    ),
    # 7 linearity
    "slope": Check(
        "Slope, counts out over counts in", "",
        "A straight line through the mean counts of blocks. 1: twice the light in gives twice the light out. Here and "
        "below, the value within two standard errors that is nearest to 1: what is certain.",
        "Intensities are kept.",
        "Intensities are stretched or squeezed.",
        remedy="Measure intensities in the raw image; use the result for shapes only.", form=".3f",
    ),
    "flux": Check(
        "Light out over light in, denoised", "",
        "Sum of the result over the sum of the raw image, above the camera offset.",
        "The result has the light of the image.",
        "Light was lost or made.",
        remedy="Check the camera offset (--offset of zsd train); measure intensities in the raw image.", form=".3f",
    ),
    "bend": Check(
        "Bend of counts out over counts in", "% of the range",
        "How far the middle of the curve is from a straight line between its ends.",
        "Counts out over counts in are a straight line.", "Middle intensities are shifted against dark and bright "
        "ones.",
        remedy="Measure intensities in the raw image; use the result for shapes only.", form=".2f",
    ),
    "flux_deconvolved": Check(
        "Light out over light in, deconvolved", "",
        "The same for the deconvolved image. Light beyond the borders of the image makes it differ a little.",
        "The deconvolved image has the light of the raw one.", "Light was lost or made by the deconvolution.",
        remedy="Measure intensities in the raw or the denoised image.", form=".3f",
    ),
    # 8 noise
    "gain_ratio": Check(
        "Gain of this image and of the training, ratio", "times",
        "Counts per photo-electron, measured in this image and in the training; the larger over the smaller. 1 for the "
        "same camera setting.",
        "Noise grows with light as in the training.",
        "Noise grows with light in another way than in the training: another gain, averaged frames, or a rescaled "
        "image.",
        remedy=f"Use the raw counts. {NEW_MODEL}", form=".2f",
    ),
    "shared_noise": Check(
        "Correlation of the noise with the next pixel", "",
        "0 for a camera's raw image. Resized, registered, deskewed, demosaiced or compressed images have more.",
        "The noise is independent from pixel to pixel.",
        "Neighbouring pixels share noise: noise is harder to tell from structure, and no photons can be split.",
        remedy="Use the image as the camera gave it.", form=".2f",
    ),
    "line_noise": Check(
        "Noise that rows or columns share, over the read noise", "times",
        "0 for a good camera. Otherwise the result may show stripes.",
        "Rows and columns have no noise of their own.",
        "Rows or columns share noise, which stays in the result as stripes.",
        remedy="Restore with --remove-lines rows, columns or both.", form=".2f",
    ),
    # 9 PSF
    "psf_faults": Check(
        "Doubts about the PSF", "", "How many things look wrong with the PSF; the notes name them.",
        "Nothing is wrong with the PSF.", "Something looks wrong with the PSF.",
        remedy="Read the notes below the pictures.",
    ),
    "psf_refused": Check(
        "Faults that make wrong images", "", "Faults for which zsd does not train with a PSF.",
        "The PSF can be used.", "The PSF has a fault that makes deconvolved images wrong.",
        remedy="Use another PSF, from theory or from a better bead, and train again.",
    ),
    "psf_other": Check(
        "Given PSF that is not the training's", "", "0 if the PSF of this report is the one of the training.",
        "It is the PSF that the model was trained with.",
        "The model was trained with another PSF than the one that you give: one of them is wrong for this image.",
        remedy="Find out which PSF is right, and train with it.",
    ),
    "psf_transfer": Check(
        "Contrast that the PSF leaves of the finest detail", "",
        "The PSF's contrast (0 to 1) at the finest detail that the raw image shows by FRC. A raw image cannot show "
        "detail that its optics do not pass: near 0, the PSF is wider than the true one. That it is too narrow cannot "
        "be seen here.",
        "The PSF passes the detail that the image shows.",
        "The image shows detail that the PSF hardly passes: the PSF may be too wide, which makes rings and dark rims.",
        "The image shows detail that the PSF does not pass: the PSF is too wide, or a pixel size is wrong.",
        remedy="Check NA, wavelength, pixel sizes, or measure the PSF; train again.", form=".3f",
    ),
    # 10 halo
    "halo_error": Check(
        "Largest change by the border of a tile", "of the range",
        "Large images are restored in overlapping tiles. So much, at most, differ their middles from the whole image, "
        "measured on the trained network when it was exported.",
        "Tiles cannot be seen.", "Borders of tiles may be faintly visible.", "Borders of tiles change the result.",
        remedy="Restore with larger tiles (--tile), or export the run again.", form=".2g",
    ),
    # 11 training
    "still_falling": Check(
        "Fall of the held-out error in the last quarter", "%",
        "The held-out error compares results with noisy pixels that were never trained on. If it still falls at the "
        "end, the training was too short. It contains the noise of these pixels, so it never reaches 0.",
        "The training had come to its end.", "The result was still getting better when the training ended.",
        "The training ended long before it was done.",
        remedy="Train longer: --minutes, or --resume.", form=".2f",
    ),
    "kept_error": Check(
        "Held-out error of the kept weights, over the best", "times",
        "1 if the weights with the smallest held-out error were kept. More: the network has learnt noise by heart.",
        "The best weights were kept.", "Later weights than the best were kept.",
        "The training went on after the network had begun to learn noise.",
        remedy="Train again with held-out tiles (the default), which end the training in time.", form=".3f",
    ),
    # 12 pixels
    "padding": Check(
        "Padding", "%", "Constant areas, blank, or NaN: nothing was recorded there, and nothing is restored.",
        "The image is filled with data.",
        "Part of the image is padding. It stays empty; resolution and estimated error count it in.",
        "Most of the image is padding.",
        remedy="Crop the image to what was recorded; use frames before registration or deskewing.", form=".2f",
    ),
    "saturated": Check(
        "Saturated pixels", "%", "Pixels at the end of the camera's range: what was brighter is lost.",
        "Hardly a pixel is saturated.", "Some pixels are saturated: intensities are too low there.",
        "Many pixels are saturated: intensities and shapes of bright structures are wrong.",
        remedy="Expose shorter, or use less light.", form=".3f",
    ),
    "clipped_low": Check(
        "Pixels cut off at the lowest value", "%",
        "A camera's noise goes below its offset; a pile at the lowest value means that a background was subtracted.",
        "The dark end of the range is whole.", "Dark pixels are cut off: dim structure comes out too bright.",
        "Many dark pixels are cut off: the background was subtracted.",
        remedy="Use the raw counts, without subtraction of a background.", form=".2f",
    ),
    "hot": Check(
        "Hot and dead pixels", "%", "Single pixels that stand out; they are replaced by their surroundings.",
        "There are few bad pixels.", "Many pixels are bad; small bright structures may be taken for them.",
        "Very many pixels are bad; the image may hold structure as small as a pixel.",
        remedy="Compare with --keep-hot-pixels; calibrate the camera (--dark).", form=".3f",
    ),
    # 13 truth
    "gain_over_raw": Check(
        "Denoised image against the truth, above the raw image", "dB",
        "PSNR after the best linear fit, of the denoised image minus that of the raw image. Above 0 it is closer.",
        "The denoised image is closer to the truth than the raw one.",
        "The denoised image is hardly closer to the truth than the raw one.",
        "The denoised image is further from the truth than the raw one.", remedy=NEW_MODEL, form="+.2f",
    ),
    "gain_over_gaussian": Check(
        "Denoised image against the truth, above the best Gaussian filter", "dB",
        "The same against the Gaussian filter whose width scores best against this truth.",
        "The denoised image is closer to the truth than any Gaussian filter's.",
        "A Gaussian filter is as good.", "A Gaussian filter is better.", remedy=NEW_MODEL, form="+.2f",
    ),
    "coverage": Check(
        "Pixels of the truth within the uncertainty", "%",
        "The uncertainty is declared to hold the truth of 68 % of the pixels with light.",
        "The uncertainty is as large as the error.",
        "The uncertainty does not have the size of the error.",
        remedy="Below 68 % the errors are larger than declared: take the map as a relative one only.", form=".1f",
    ),
}  # fmt: skip

process ZSD_RESTORE {
    tag "$meta.id"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"
    // Built from deploy/Dockerfile; no registry has it yet.
    container "zsd:0.1.0"

    input:
    tuple val(meta), path(image)
    path psf

    output:
    tuple val(meta), path("${prefix}/*_denoised.tif")   , emit: denoised
    tuple val(meta), path("${prefix}/*_deconvolved.tif"), emit: deconvolved, optional: true
    tuple val(meta), path("${prefix}/model.zip")        , emit: model
    tuple val(meta), path("${prefix}/run")              , emit: run
    path "versions.yml"                                 , emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    // Without a PSF file, ext.args has --na and --wavelength, --psf-sigma, or a scheme that needs no PSF.
    def psf_option = psf ? "--psf '${psf}'" : ''
    """
    OMP_NUM_THREADS=${task.cpus} zsd restore '${image}' ${psf_option} --out '${prefix}' ${args}

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        zsd: \$(zsd --version)
    END_VERSIONS
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    mkdir -p '${prefix}/run'
    touch '${prefix}/${image.baseName}_denoised.tif' '${prefix}/${image.baseName}_deconvolved.tif' '${prefix}/model.zip'

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        zsd: \$(zsd --version)
    END_VERSIONS
    """
}

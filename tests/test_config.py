import pytest

from zsd_runtime import InputError
from zsd_train import TrainConfig
from zsd_train.config import make_config, read_config


def test_a_preset_fills_in_what_is_not_given():
    config = make_config(preset="reference", learning_rate=1e-5)
    assert config.network.width == 32
    assert config.patch == 128
    assert config.learning_rate == 1e-5
    assert TrainConfig(preset="reference").network.width == 32
    partial = make_config(preset="reference", network={"grid_factor": 1}).network
    assert (partial.width, partial.grid_factor) == (32, 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hesian_weight": 1}, "unknown key 'hesian_weight'.*'hessian_weight'"),
        ({"network": {"widht": 8}}, "'network.widht'.*'width'"),
        ({"gain": 0.0, "offset": 1.0, "read_noise": 1.0}, "gain = 0.0"),
        ({"gain": 1.0}, "all three, or none"),
        ({"minutes": 1, "steps": 5}, "budget is one of them"),
        ({"minutes": -1}, "minutes = -1"),
        ({"offset": float("nan")}, "offset = nan: .* finite"),
        ({"alpha": (0.0, 1.0)}, "alpha"),
        ({"patch": 40}, "multiple of 16"),
        ({"preset": "huge"}, "preset = 'huge'"),
        ({"denoising_weight": 1.0}, "denoising_weight"),
    ],
)
def test_what_is_wrong_is_named(values, message):
    with pytest.raises(InputError, match=message):
        make_config(**values)


def test_toml_files(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("hessian_weight = 0.1\n[network]\nwidth = 8\n")
    config = make_config(**read_config(path))
    assert (config.hessian_weight, config.network.width, config.network.depth) == (0.1, 8, 3)
    path.write_text("= broken")
    with pytest.raises(InputError, match="not readable TOML"):
        read_config(path)
    with pytest.raises(InputError, match="does not exist"):
        read_config(tmp_path / "none.toml")

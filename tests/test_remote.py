"""OME-Zarr behind URLs: an S3 server (moto) and a plain web server, both in this process."""

import functools
import pickle
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from zsd_runtime import InputError
from zsd_runtime.images import Image, Voxel, images_in, open_image, read_image, stem, write_image
from zsd_runtime.images.remote import Remote, create_exclusively, files_below, located

boto3 = pytest.importorskip("boto3")
server = pytest.importorskip("moto.server")
pytest.importorskip("s3fs")
# Of the servers and clients of these tests, sockets that end with their threads.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
MOVIE = np.random.default_rng(5).poisson(120, (3, 140, 40)).astype(np.uint16)


@pytest.fixture(scope="module")
def s3():
    """The endpoint of an S3 server, with the bucket `lab`; the environment leads to it."""
    with pytest.MonkeyPatch.context() as environment:
        moto = server.ThreadedMotoServer(port=0, verbose=False)
        moto.start()
        host, port = moto.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "ada", "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():  # fmt: skip
            environment.setenv(name, value)
        import_module("s3fs").S3FileSystem.clear_instance_cache()  # of another module's server
        client = boto3.client("s3")
        client.create_bucket(Bucket="lab")
        yield client
        moto.stop()


@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    """In a folder."""
    path = tmp_path_factory.mktemp("local") / "cell.zarr"
    write_image(path, Image(MOVIE, "TYX", Voxel.square(0.1)))
    return path


def upload(client, folder, key):
    for path in folder.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), "lab", f"{key}/{path.relative_to(folder).as_posix()}")


@pytest.fixture(scope="module")
def in_bucket(s3, movie):
    upload(s3, movie, "in/cell.zarr")
    return "s3://lab/in/cell.zarr"


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def web(movie):
    """Of a plain web server."""
    handler = functools.partial(_Silent, directory=str(movie.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_address[1]}/cell.zarr"
        serving.shutdown()


@pytest.mark.parametrize(
    ("text", "is_url", "shown"),
    [
        ("s3://lab/in/cell.zarr/", True, "s3://lab/in/cell.zarr"),
        ("s3:/lab/cell.zarr", True, "s3://lab/cell.zarr"),  # what pathlib makes of it
        ("https://host:80/a b.zarr", True, "https://host:80/a b.zarr"),
        ("file:///data/cell.zarr", False, "/data/cell.zarr"),
        ("data/cell.zarr", False, "data/cell.zarr"),
        ("C:/data/cell.zarr", False, "C:/data/cell.zarr"),
    ],
)
def test_a_url_is_a_path(text, is_url, shown):
    path = located(text)
    assert isinstance(path, Remote) == is_url
    assert path.as_posix() == shown or str(path) == shown
    for other in (located(path), located(Path(text)), pickle.loads(pickle.dumps(path))):
        assert other == path
        assert type(other) is type(path)
    assert type(path.parent / "x") is type(path)


def test_what_needs_a_real_file_says_so():
    with pytest.raises(InputError, match=r"s3://lab/a.tif: only OME-Zarr can be at a URL: copy the file"):
        open(located("s3://lab/a.tif"))  # noqa: PTH123, SIM115


def test_an_image_in_a_bucket_is_that_of_the_folder(in_bucket, movie):
    there, here = open_image(in_bucket), open_image(movie)
    assert (there.axes, there.voxel, there.description) == (here.axes, here.voxel, here.description)
    assert images_in([Path(in_bucket)]) == [located(in_bucket)]
    assert stem(located(in_bucket)) == "cell"
    np.testing.assert_array_equal(there.data[1, 20:40, 10:30], MOVIE[1, 20:40, 10:30])
    np.testing.assert_array_equal(read_image(f"{in_bucket}/0").data, MOVIE)


def test_an_image_of_a_web_server(web):
    image = read_image(web)
    assert image.description.notices == ()
    np.testing.assert_array_equal(image.data, MOVIE)


def test_lost_chunks_in_a_bucket_are_noticed(s3, movie):
    upload(s3, movie, "in/lost.zarr")
    s3.delete_object(Bucket="lab", Key="in/lost.zarr/0/c/1/0/0")
    assert "1 of 3 chunks of the file are not stored" in str(open_image("s3://lab/in/lost.zarr").description.notices)


def test_errors_of_reading(in_bucket, web, monkeypatch):
    for url, said in (
        ("s3://lab/in/nothing.zarr", "is not OME-Zarr, does not exist or"),
        ("s3://elsewhere/cell.zarr", "is not OME-Zarr, does not exist or"),
        (web.replace("cell", "nothing"), "is not OME-Zarr, does not exist or"),
        ("http://127.0.0.1:9/cell.zarr", "cannot be read"),
        ("nothing://lab/cell.zarr", "nothing:// is not known"),
    ):
        with pytest.raises(InputError, match=said):
            open_image(url)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(InputError, match=r"s3:// needs fsspec: pip install 'zsd\[cloud\]'"):
        open_image(in_bucket)


@pytest.mark.usefixtures("s3")
def test_one_of_several_creates_a_file(tmp_path, monkeypatch):
    for place in (tmp_path / "job.json", located("s3://lab/job.json")):
        create_exclusively(place, "first")
        with pytest.raises(FileExistsError):
            create_exclusively(place, "second")
        assert place.read_text() == "first"
    with monkeypatch.context() as blind:  # it came after this process looked
        blind.setattr(Remote, "is_file", lambda self: False)
        with pytest.raises(FileExistsError):
            create_exclusively(located("s3://lab/job.json"), "second")


def test_files_of_a_bucket(in_bucket, movie):
    assert sorted(files_below(located(in_bucket))) == sorted(files_below(movie))

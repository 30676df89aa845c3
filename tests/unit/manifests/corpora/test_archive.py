from __future__ import annotations

import io
import os
import tarfile

import pytest

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.corpora.archive import unpack

pytestmark = pytest.mark.legacy


def member(name, content=b"text", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def pack(path, *members, mode="w:gz"):
    with tarfile.open(path, mode) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_files_and_folders_without_the_archives_modes(tmp_path, mode):
    folder = member("splits/nl", b"", type=tarfile.DIRTYPE, mode=0)
    content = os.urandom(100_000)
    files = member("splits/nl/é b.txt", content, mode=0o4000), member("./top.txt")
    archive = pack(tmp_path / "a.tar", folder, *files, mode=mode)
    (tmp_path / "into").mkdir()
    unpack(archive, tmp_path / "into")
    assert (tmp_path / "into" / "splits" / "nl" / "é b.txt").read_bytes() == content
    assert (tmp_path / "into" / "top.txt").read_bytes() == b"text"
    assert (tmp_path / "into" / "splits" / "nl" / "é b.txt").stat().st_mode & 0o7400 == 0o400


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (member("../evil.txt"), "points outside"),
        (member("a/../../evil.txt"), "points outside"),
        (member("/tmp/evil.txt"), "points outside"),
        (member("evil", b"", type=tarfile.SYMTYPE, linkname="/etc"), "is a link"),
        (member("evil", b"", type=tarfile.LNKTYPE, linkname="good.txt"), "is a link"),
        (member("evil", b"", type=tarfile.FIFOTYPE), "is neither file nor folder"),
        (member("evil", b"", type=tarfile.CHRTYPE), "is neither file nor folder"),
    ],
)
def test_members_that_are_refused(tmp_path, bad, said):
    into = tmp_path / "one" / "two"
    into.mkdir(parents=True)
    archive = pack(tmp_path / "a.tar.gz", member("good.txt"), bad, member("later.txt"))
    with pytest.raises(UserError, match=said) as error:
        unpack(archive, into)
    assert repr(bad[0].name) in str(error.value) and "\n" not in str(error.value)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.tar.gz", "good.txt", "one", "two"]


def test_damaged_archives(tmp_path):
    good = pack(tmp_path / "a.tar.gz", member("a.txt", os.urandom(50_000)))
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(good.read_bytes()[:30_000])
    turned = tmp_path / "turned.tar.gz"
    data = bytearray(good.read_bytes())
    data[20_000:20_050] = bytes(50)
    turned.write_bytes(data)
    (tmp_path / "text").write_text("no archive", encoding="utf-8")
    for name in ("cut.tar.gz", "turned.tar.gz", "text", "missing"):
        with pytest.raises(UserError, match=name) as error:
            unpack(tmp_path / name, tmp_path)
        assert "\n" not in str(error.value)


def test_a_file_where_a_folder_should_be(tmp_path):
    archive = pack(tmp_path / "a.tar", member("a"), member("a/b"), mode="w")
    (tmp_path / "into").mkdir()
    with pytest.raises(UserError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "into")

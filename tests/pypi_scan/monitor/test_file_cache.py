"""Files that are read once, in the background where that takes long."""

from threading import Event

from pypi_scan.monitor.file_cache import FileCache


def test_a_page_does_not_wait_for_what_takes_long(tmp_path):
    may_go_on = Event()
    for name in "ab":
        (tmp_path / name).write_text(name)

    def read(path):
        assert path.name == "a" or may_go_on.wait(60)
        return path.read_text()

    cache = FileCache(read, size=10)
    paths = [tmp_path / "a", tmp_path / "b"]
    cache.get(paths[0])
    assert cache.get_soon(paths, 0.01) == (["a"], 1)
    may_go_on.set()
    assert cache.get_soon(paths, 60) == (["a", "b"], 0)


def test_only_the_files_asked_for_last_are_kept(tmp_path):
    read = []

    def note(path):
        read.append(path.name)
        return path.name

    cache = FileCache(note, size=2)
    for name in "abca":
        (tmp_path / name).touch()
        cache.get(tmp_path / name)
    cache.get(tmp_path / "c")
    assert read == ["a", "b", "c", "a"]

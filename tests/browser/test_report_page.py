import re

import pytest

pytestmark = pytest.mark.browser

# Reports the layout of the page. Its policy forbids scripts, so this page embeds it in a frame.
_MEASURE = """<!DOCTYPE html><iframe id="page" src="{page}" width="{width}" height="900"></iframe>
<pre id="found"></pre><script>
window.onload = () => {{
  const page = document.getElementById("page").contentDocument;
  const images = [...page.images];
  document.getElementById("found").textContent = [
    "loaded", images.filter(image => image.naturalWidth > 0).length, "of", images.length,
    "wide", page.documentElement.scrollWidth].join(" ");
}};
</script>"""


def test_the_report_renders_without_console_messages(run_directory, dump_dom):
    dom, complaints = dump_dom((run_directory / "report.html").as_uri())
    assert complaints == []
    table = re.search(r'<table class="wide" id="results">.*?</table>', dom, re.S).group(0)
    assert ">100.00 %<" in table
    assert dom.count("<svg") == 4 + 2
    assert "<title>loss, epoch 1: 3</title>" in dom


def test_the_policy_of_the_page_is_enforced(run_directory, dump_dom, tmp_path):
    """Shows that the test above would detect a request: an injected one is blocked."""
    text = (run_directory / "report.html").read_text(encoding="utf-8")
    spoilt = tmp_path / "spoilt.html"
    spoilt.write_text(text.replace("<main>", '<main><img src="http://127.0.0.1:9/x.png">'), "utf-8")
    _, complaints = dump_dom(spoilt.as_uri())
    assert any("Content Security Policy" in line for line in complaints)


@pytest.mark.parametrize("width", [360, 1200])
def test_every_image_loads_and_nothing_is_wider_than_the_screen(
    run_directory, dump_dom, tmp_path, width
):
    frame = tmp_path / "frame.html"
    page = (run_directory / "report.html").as_uri()
    frame.write_text(_MEASURE.format(page=page, width=width), encoding="utf-8")
    dom, _ = dump_dom(frame.as_uri(), "--allow-file-access-from-files")
    loaded, images, wide = map(int, re.search(r"loaded (\d+) of (\d+) wide (\d+)", dom).groups())
    assert loaded == images >= 12 + 8
    assert wide <= width

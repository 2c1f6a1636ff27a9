"""Files of each kind, made by the tests, and what was done to some of them."""

import io
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence

import docx
import pptx
import xlsxwriter


def pdf(pages: Iterable[str | None], *, encrypted: bool = False, outline: Sequence[tuple[str, int, str]] = ()) -> bytes:
    """A PDF of so many pages; None: one without text. `outline`: a title, the page, what is below it."""
    objects: list[bytes] = [b"", b"", b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    kids = []
    for text in pages:
        lines = b") Tj 0 -20 Td (".join(line.encode("latin-1") for line in (text or "").split("\n"))
        stream = b"" if text is None else b"BT /F1 12 Tf 72 720 Td (" + lines + b") Tj ET"
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream))
        number = len(objects)
        page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents %d 0 R/Resources<</Font<</F1 3 0 R>>>>>>"
        objects.append(page % number)
        kids.append(b"%d 0 R" % len(objects))
    root = len(objects) + 1
    objects[0] = b"<</Type/Catalog/Pages 2 0 R%s>>" % (b"/Outlines %d 0 R" % root if outline else b"")
    if outline:
        objects.append(b"<</Type/Outlines/First %d 0 R/Last %d 0 R>>" % (root + 1, root + 2 * len(outline) - 1))
    for n, (title, page, below) in enumerate(outline):
        number, at = root + 1 + 2 * n, b"/Dest[%s/Fit]" % kids[page]
        following = b"/Next %d 0 R" % (number + 2) if n + 1 < len(outline) else b""
        links = b"/Parent %d 0 R%s/First %d 0 R/Last %d 0 R" % (root, following, number + 1, number + 1)
        objects.append(b"<</Title(%s)%s%s>>" % (title.encode("latin-1"), links, at))
        objects.append(b"<</Title(%s)/Parent %d 0 R%s>>" % (below.encode("latin-1"), number, at))
    objects[1] = b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(kids), b" ".join(kids))
    trailer = b"/Root 1 0 R/Size %d" % (len(objects) + 2)
    if encrypted:
        # No password fits these keys.
        objects.append(b"<</Filter/Standard/V 1/R 2/P -4/O<%s>/U<%s>>>" % (b"ab" * 32, b"cd" * 32))
        trailer += b"/Encrypt %d 0 R/ID[<%s><%s>]" % (len(objects), b"00" * 16, b"00" * 16)
    written = io.BytesIO()
    written.write(b"%PDF-1.7\n")
    places = []
    for number, value in enumerate(objects, 1):
        places.append(written.tell())
        written.write(b"%d 0 obj\n%s\nendobj\n" % (number, value))
    table = written.tell()
    written.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(places) + 1))
    written.writelines(b"%010d 00000 n \n" % place for place in places)
    written.write(b"trailer<<%s>>\nstartxref\n%d\n%%%%EOF" % (trailer, table))
    return written.getvalue()


def word() -> bytes:
    document = docx.Document()
    document.add_heading("Handbook", 0)
    document.add_paragraph("Read this first.")
    document.add_heading("Prices", 1)
    table = document.add_table(2, 2)
    for cell, value in zip(table._cells, ("Bolt", "Price", "M8", "12 cents"), strict=True):
        cell.text = value
    document.add_heading("In Europe", 2)
    document.add_paragraph("Without tax.")
    return saved(document.save)


def slides() -> bytes:
    presentation = pptx.Presentation()
    for title, body in (("Plan", "Build it"), ("Costs", "None")):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = body
    slide.notes_slide.notes_text_frame.text = "Say it slowly"
    return saved(presentation.save)


def sheets(cells: Mapping[tuple[int, int], object] | None = None) -> bytes:
    target = io.BytesIO()
    with xlsxwriter.Workbook(target) as book:
        first = book.add_worksheet("Bolts")
        for (row, column), value in (cells or {}).items():
            first.write(row, column, value)
        if cells is None:
            first.write_row(0, 0, ["name", "price"])
            first.write_row(1, 0, ["M8", 12])
            book.add_worksheet("Nuts").write_row(0, 0, ["M6", 0.5])
    return target.getvalue()


def saved(save: Callable[[io.BytesIO], None]) -> bytes:
    target = io.BytesIO()
    save(target)
    return target.getvalue()


def with_part(archive: bytes, name: str, content: bytes) -> bytes:
    """The archive, with another part in the place of one."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as source,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as changed,
    ):
        for entry in source.infolist():
            changed.writestr(entry.filename, content if entry.filename == name else source.read(entry))
    return target.getvalue()

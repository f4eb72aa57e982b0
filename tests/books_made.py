"""Small books made by the tests: an EPUB as a publisher packs it, a PDF of text lines."""

import zipfile

CONTAINER = '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="{}"/>'
PACKAGE = """<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:title>{title}</dc:title><dc:creator>{author}</dc:creator><dc:language>{language}</dc:language>{rights}</metadata>
<manifest>{items}</manifest><spine>{spine}</spine></package>"""
PAGE = '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>x</title></head><body>{}</body></html>'


def epub(path, chapters, *, title="The Lamp", author="A. Writer", language="en", rights="CC0", spine=None):
    """`chapters`: name -> body of its page. They stand in the manifest backwards: only the spine has their order."""
    names = list(chapters)
    package = PACKAGE.format(
        title=title, author=author, language=language, rights=f"<dc:rights>{rights}</dc:rights>" if rights else "",
        items="".join(f'<item id="i{n}" href="text/{name}"/>' for n, name in reversed([*enumerate(names)])),
        spine="".join(f'<itemref idref="{i}"/>' for i in spine or [f"i{n}" for n in range(len(names))]),
    )  # fmt: skip
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("META-INF/container.xml", CONTAINER.format("book/c.opf") + "</rootfiles></container>")
        archive.writestr("book/c.opf", package)
        for name, body in chapters.items():
            archive.writestr(f"book/text/{name}", PAGE.format(body))
    return path


def pdf(path, pages):
    """`pages`: the lines of each."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", "", "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for lines in pages:
        shown = "".join(f"({line}) Tj T* " for line in lines)
        stream = f"BT /F1 11 Tf 14 TL 60 760 Td {shown}ET"
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >> "
            f"/Contents {len(objects)} 0 R >>"
        )
        kids.append(len(objects))
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(f'{n} 0 R' for n in kids)}] /Count {len(kids)} >>"
    text, places = "%PDF-1.4\n", []
    for n, body in enumerate(objects, start=1):
        places.append(len(text))
        text += f"{n} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    start = len(text)
    text += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    path.write_bytes(f"{text}trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF".encode())
    return path

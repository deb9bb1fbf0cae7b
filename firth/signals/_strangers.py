"""Files that are no pictures firth reads, told apart by how they begin: what each is, and what to do about it."""

AGAIN = "Copy it again from where it came from, or remove it."
OTHER = "Save it as JPEG, PNG, WebP or TIFF."
SEE = "Open it to see what it says; a download that failed leaves such files."
HEAD = 512  # bytes that are looked at

PICTURES = {  # how those that are read begin; of a TIFF that fails tifffile has the word
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"RIFF": "WebP",
    b"BM": "BMP",
}
OTHERS = {
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xffO\xffQ": "JPEG 2000",
    b"8BPS": "a Photoshop file",
    b"%PDF": "a PDF",
    b"%!PS": "PostScript",
    b"\0\0\x01\0": "an icon (ICO)",
    b"SIMPLE  =": "FITS",
    b"\x89HDF": "HDF5",
    b"\x93NUMPY": "an array of NumPy",
    b"PK\3\4": "a zip archive",
    b"\x1f\x8b": "packed by gzip",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"OggS": "sound or film (Ogg)",
    b"ID3": "sound (MP3)",
    b"fLaC": "sound (FLAC)",
}
BOXES = {b"hei": "HEIC", b"hev": "HEIC", b"mif": "HEIC", b"msf": "HEIC", b"avi": "AVIF"}  # brands of a file of boxes


def stranger(data: bytes) -> tuple[str, str]:
    """What such a file is, and what to do."""
    head = data[:HEAD]
    if not any(head) and not data.strip(b"\0"):
        return "holds nothing but zeros", AGAIN
    if head[:4] == b"RIFF" and head[8:12] != b"WEBP":
        return f"is {'sound (WAV)' if head[8:12] == b'WAVE' else 'sound or film (RIFF)'}, which is no picture", OTHER
    for begin, name in PICTURES.items():
        if head.startswith(begin):
            return f"is damaged (it begins as {name} and cannot be read further)", AGAIN
    if name := other(head):
        return f"is {name}, which is not read as a picture", OTHER
    return written(head) or ("is no picture that can be read", OTHER)


def other(head: bytes) -> str:
    """The name of another form, "" where it is none that is known."""
    if head[4:8] == b"ftyp":
        return BOXES.get(head[8:11], "a film (MP4)")
    if head[128:132] == b"DICM":
        return "DICOM"
    return next((name for begin, name in OTHERS.items() if head.startswith(begin)), "")


def written(head: bytes) -> tuple[str, str] | None:
    """What a file of text is; None for one that holds no text."""
    try:
        text = head.decode("utf-8", "strict" if len(head) < HEAD else "ignore").lstrip("\ufeff \t\r\n").lower()
    except UnicodeDecodeError:
        return None
    if text.startswith("version https://git-lfs"):
        return "is a pointer of Git LFS, and not the picture itself", "Fetch the pictures: git lfs pull"
    if text.startswith(("<!doctype html", "<html")):
        return "is a web page, and no picture", SEE
    if "<svg" in text:
        return "is a drawing of lines (SVG), and holds no pixels", "Save it as PNG."
    readable = sum(letter.isprintable() or letter in "\r\n\t" for letter in text)
    return ("holds text, and is no picture", SEE) if text and readable == len(text) else None

"""Spreadsheets: a page and a heading for each sheet."""

import io
from collections.abc import Iterator
from datetime import datetime, time
from typing import Any

from app.documents.extraction.readers.tables import write_rows
from app.documents.extraction.writer import Writer


def read_sheets(content: bytes, writer: Writer) -> None:
    from python_calamine import CalamineWorkbook, PasswordError, SheetTypeEnum

    from app.documents.failures import ExtractionFailed, FailureCode

    try:
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(content))
    except PasswordError as error:
        raise ExtractionFailed(FailureCode.ENCRYPTED, "xlsx") from error
    for sheet in workbook.sheets_metadata:
        if sheet.typ == SheetTypeEnum.WorkSheet:
            rows = workbook.get_sheet_by_name(sheet.name)
            writer.page()
            if rows.height:
                writer.heading(1, sheet.name)
                write_rows(_rows(rows), writer)


def _rows(sheet: Any) -> Iterator[list[str]]:
    for row in sheet.iter_rows():
        yield [_written(value) for value in row]


def _written(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    return str(value)

"""Answers of the form that each engine documents."""

from __future__ import annotations

from typing import Any

OPENVERSE = {
    "result_count": 240,
    "page_count": 12,
    "page_size": 20,
    "page": 1,
    "results": [
        {
            "id": "4bc43a04-ef46-4544-a0c1-63c63f56e276",
            "title": "Kathak",
            "foreign_landing_url": "https://www.flickr.com/photos/1/2",
            "url": "https://live.staticflickr.com/1/2_b.jpg",
            "creator": "A. Person",
            "creator_url": "https://www.flickr.com/photos/1",
            "license": "by-sa",
            "license_version": "2.0",
            "license_url": "https://creativecommons.org/licenses/by-sa/2.0/",
            "provider": "flickr",
            "attribution": '"Kathak" by A. Person is licensed under CC BY-SA 2.0.',
            "filetype": None,
            "height": 683,
            "width": 1024,
        },
        {"title": "without an address", "url": None},
    ],
}


def _commons(index: int, title: str, **info: Any) -> dict[str, Any]:
    return {"pageid": index, "ns": 6, "title": title, "index": index, "imageinfo": [info]}


WIKIMEDIA = {
    "batchcomplete": True,
    "continue": {"gsroffset": 50, "continue": "gsroffset||"},
    "query": {
        "pages": [
            _commons(
                2,
                "File:Second.png",
                url="https://upload.example/Second.png",
                descriptionurl="https://commons.example/wiki/File:Second.png",
                extmetadata={
                    "LicenseShortName": {"value": "Public domain", "source": "x"},
                    "Artist": {"value": ""},
                },
            ),
            _commons(
                1,
                "File:First.jpg",
                thumburl="https://upload.example/1280px-First.jpg",
                url="https://upload.example/First.jpg",
                descriptionurl="https://commons.example/wiki/File:First.jpg",
                extmetadata={
                    "LicenseShortName": {"value": "CC BY-SA 4.0"},
                    "LicenseUrl": {"value": "https://creativecommons.org/licenses/by-sa/4.0"},
                    "Artist": {"value": '<a href="//x"><bdi>R. <b>Person</b></bdi></a>'},
                },
            ),
            {"pageid": 3, "ns": 6, "title": "File:Deleted.jpg", "index": 3},
        ]
    },
}

FLICKR_LICENCES = {
    "licenses": {
        "license": [
            {"id": 0, "name": "All Rights Reserved", "url": ""},
            {"id": 5, "name": "BY-SA", "url": "https://creativecommons.org/licenses/by-sa/2.0/"},
            {"id": 9, "name": "CC0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"},
        ]
    },
    "stat": "ok",
}

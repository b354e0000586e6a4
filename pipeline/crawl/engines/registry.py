"""The table of search engines: `crawl.engines` in params.yaml names some of them.

`EngineName` in pipeline.core.params lists the same names, so that every command that reads
params.yaml refuses an unknown one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pipeline.core.params import Crawl, Dance, EngineName
from pipeline.crawl.engines.bing import Bing
from pipeline.crawl.engines.engine import Engine
from pipeline.crawl.engines.flickr import Flickr
from pipeline.crawl.engines.openverse import Openverse
from pipeline.crawl.engines.urls import UrlList
from pipeline.crawl.engines.wikimedia import Wikimedia

ENGINES: Mapping[EngineName, Callable[[str, Dance, Crawl], Engine]] = {
    "bing": Bing.from_params,
    "openverse": Openverse.from_params,
    "wikimedia": Wikimedia.from_params,
    "flickr": Flickr.from_params,
    "urls": UrlList.from_params,
}


def engines_for(key: str, dance: Dance, params: Crawl) -> list[Engine]:
    """Return the engines of the class `key`: its own, or else crawl.engines.

    Raises PipelineError if an engine lacks a setting or a key.
    """
    names = dict.fromkeys(dance.engines or params.engines)
    return [ENGINES[name](key, dance, params) for name in names]

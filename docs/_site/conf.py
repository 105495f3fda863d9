"""Sphinx's settings for the site of these documents; `scripts/docs` runs it."""  # noqa: INP001 - no package

import os

project = "tes"
author = "tes"
version = release = os.environ["TES_DOCS_VERSION"]
extensions = ["myst_parser"]
root_doc = "README"
source_suffix = {".md": "markdown"}
myst_heading_anchors = 6
highlight_language = "none"

html_theme = "furo"
html_title = f"tes {release}"
html_static_path = ["static"]
templates_path = ["templates"]
html_css_files = ["site.css"]
html_js_files = [("versions.js", {"defer": "defer"})]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "versions.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
# System fonts: nothing is fetched from elsewhere.
html_theme_options = {
    "footer_icons": [],
    "light_css_variables": {
        "font-stack": "system-ui, 'DejaVu Sans', sans-serif",
        "font-stack--monospace": "ui-monospace, 'DejaVu Sans Mono', monospace",
    },
}

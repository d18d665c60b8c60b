"""Where runs live: a run is a folder of plain files."""

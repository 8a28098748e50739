"""Studies: settings times seeds, the runs they make, and the pages that compare them."""

"""From records to tables, differences, pictures and pages; reads artifacts only."""

"""Made of the command line itself: manual pages and a page of the documents."""

"""From results to what people and machines read: tables, one HTML page, JUnit XML, Markdown, the terminal."""

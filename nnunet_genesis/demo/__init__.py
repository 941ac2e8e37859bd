"""The demonstration of the whole way, from raw scans to a comparison with a control, on synthetic CT scans."""

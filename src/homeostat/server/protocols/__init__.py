"""How clients ask for predictions: messages and endpoints, a module a protocol, all asking the same plane."""

package spec

// Net is the network context (org.linux-vserver.net.*).
type Net struct{}

var netAnnotations = [...]annotation{}

func (c *checker) checkNet(*Extension) {}

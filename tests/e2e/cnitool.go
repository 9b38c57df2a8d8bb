// A container runtime in twenty lines, on libcni: cnitool add|check|del CONFLIST CONTAINERID NETNS IFNAME
// CNI_PATH, CNI_ARGS ("K=V;K=V"), CAP_ARGS (JSON) and CNI_CACHE are its environment; the result is on stdout, an error as JSON on stderr.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/containernetworking/cni/libcni"
)

func run(args []string) error {
	list, err := libcni.ConfListFromFile(args[2])
	if err != nil {
		return err
	}
	rt := &libcni.RuntimeConf{ContainerID: args[3], NetNS: args[4], IfName: args[5], CapabilityArgs: map[string]interface{}{}}
	for _, pair := range strings.Split(os.Getenv("CNI_ARGS"), ";") {
		if kv := strings.SplitN(pair, "=", 2); len(kv) == 2 {
			rt.Args = append(rt.Args, [2]string{kv[0], kv[1]})
		}
	}
	if caps := os.Getenv("CAP_ARGS"); caps != "" {
		if err := json.Unmarshal([]byte(caps), &rt.CapabilityArgs); err != nil {
			return err
		}
	}
	cni := libcni.NewCNIConfigWithCacheDir(strings.Split(os.Getenv("CNI_PATH"), ":"), os.Getenv("CNI_CACHE"), nil)
	switch args[1] {
	case "add":
		result, err := cni.AddNetworkList(context.TODO(), list, rt)
		if err != nil {
			return err
		}
		return result.Print()
	case "check":
		return cni.CheckNetworkList(context.TODO(), list, rt)
	case "validate":
		_, err := cni.ValidateNetworkList(context.TODO(), list)
		return err
	}
	return cni.DelNetworkList(context.TODO(), list, rt)
}

func main() {
	if err := run(os.Args); err != nil {
		text, _ := json.Marshal(err)
		fmt.Fprintf(os.Stderr, "%s\n%s\n", err, text)
		os.Exit(1)
	}
}

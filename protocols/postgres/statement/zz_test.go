package statement
import ("testing";"os";"time";"strconv";"strings";"context";"fmt")
func TestZZ(t *testing.T){
 es,_:=os.ReadDir("/root/.cache/go-build/fuzz/gatehouse/protocols/postgres/statement/FuzzAnalyze")
 for _,e:=range es{ b,_:=os.ReadFile("/root/.cache/go-build/fuzz/gatehouse/protocols/postgres/statement/FuzzAnalyze/"+e.Name()); l:=strings.Split(string(b),"\n"); if len(l)<2{continue}
  v:=strings.TrimSuffix(strings.TrimPrefix(l[1],"string("),")"); s,err:=strconv.Unquote(v); if err!=nil{continue}
  st:=time.Now(); _,_,err=shared.read(context.Background(),s); if d:=time.Since(st); d>20*time.Millisecond{ fmt.Printf("%v %d bytes %.200q err=%.80v\n",d,len(s),s,err)} }
}
